// Shows what the daemon answers under /api/v1. Reads only; everything that comes in becomes text, never markup.
"use strict";

const TIMEOUT_MILLIS = 10000;
/** The daemon tells its status each second: after so long without it, what is shown is old. */
const SILENCE_MILLIS = 7000;
/** The pause before another try when the daemon refuses to tell. */
const REFUSED_MILLIS = 10000;

const byId = (id) => document.getElementById(id);

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined).map((child) =>
    child instanceof Node ? child : document.createTextNode(String(child))));
  return made;
}

/** Rewrites `parent` so that it holds `children`, keeping those that did not change, and the focus on the same link. */
function replace(parent, children) {
  const focused = parent.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  children.forEach((child, at) => {
    const there = parent.childNodes[at];
    if (there === undefined) parent.append(child);
    else if (!there.isEqualNode(child)) parent.replaceChild(child, there);
  });
  while (parent.childNodes.length > children.length) parent.lastChild.remove();
  if (focused !== null && !parent.contains(document.activeElement)) {
    const again = [...parent.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused);
    if (again) again.focus({ preventScroll: true });
  }
}

function replyOf(line) {
  if (line.v !== 1) throw new Error("the daemon speaks version " + line.v + " of its answers, this page version 1");
  if (line.reply.fault) throw new Error(line.reply.fault.message);
  return line.reply;
}

async function ask(path) {
  const answer = await fetch("/api/v1/" + path, {
    signal: AbortSignal.timeout(TIMEOUT_MILLIS), cache: "no-store", redirect: "error",
  });
  return replyOf(await answer.json());
}

function duration(millis) {
  const seconds = Math.max(0, Math.floor(millis / 1000));
  if (seconds < 60) return seconds + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min " + (seconds % 60) + " s";
  if (seconds < 86400) return Math.floor(seconds / 3600) + " h " + Math.floor((seconds % 3600) / 60) + " min";
  return Math.floor(seconds / 86400) + " d " + Math.floor((seconds % 86400) / 3600) + " h";
}

const moment = (millis) => new Date(millis).toISOString().replace("T", " ");
const short = (id) => id.length > 20 ? id.slice(0, 12) + "…" + id.slice(-6) : id;
const number = (value) => value.toLocaleString("en");
const pill = (kind, text) => element("span", { class: "pill " + kind }, text);
const cell = (label, kind, ...children) => element("td", { "data-label": label, class: kind || null }, ...children);

/** The hash under which a message's timeline is shown: its lane's id and its index. */
const messageLink = (lane, index) => "#message/" + encodeURIComponent(lane) + "/" + index;

const STATE_PILL = { idle: "good", moving: "warn", paused: "warn" };

function showStatus(status) {
  byId("name").textContent = status.name;
  byId("role").textContent = status.role;
  document.title = (status.troubles.length === 0 ? "" : "(!) ") + status.name + " · CityRelay";
  byId("version").textContent = "Version " + status.version + ".";
  byId("updated").textContent = "As of " + moment(status.now).slice(0, 19) + " UTC.";
  const ready = byId("ready");
  const word = status.troubles.length === 0 ? "ready" : "not ready";
  if (ready.textContent !== word) ready.textContent = word;
  ready.className = "pill " + (status.troubles.length === 0 ? "good" : "bad");
  replace(byId("attention"), status.troubles.map((trouble) =>
    element("li", { title: trouble.subject },
      element("strong", null, trouble.subject.replace(/0x[0-9a-f]{40,}/gi, short)), ": " + trouble.reason)));
  byId("attention-none").hidden = status.troubles.length > 0;
  showChains(status);
  showPeers(status);
}

const lastHeights = new Map();

function showChains(status) {
  replace(byId("chains"), status.chains.map((chain) => {
    const moved = lastHeights.has(chain.name) && lastHeights.get(chain.name) !== chain.height;
    lastHeights.set(chain.name, chain.height);
    const state = chain.is_frozen ? pill("bad", "frozen") : chain.held_back ? pill("warn", "held back") : null;
    const facts = [
      element("dt", null, "Newest verified block"),
      element("dd", null, chain.timestamp === null ? "not known yet" : duration(status.now - chain.timestamp) + " old"),
    ];
    if (chain.held_back) facts.push(element("dt", null, "Held back"), element("dd", null, chain.held_back));
    const nodes = chain.endpoints.map((node) => element("li", null,
      pill(node.is_usable ? "good" : "bad", node.is_usable ? "in use" : "not in use"), " ",
      element("strong", null, node.name), node.is_own ? " own node" : " foreign node",
      " at height " + number(node.height) + ", " + number(node.latency_millis) + " ms, " + number(node.errors) + " errors, ",
      node.lies > 0 ? pill("bad", number(node.lies) + " lies") : "0 lies",
      node.last_error ? element("div", { class: "faint" }, node.last_error) : null));
    if (nodes.length === 0) nodes.push(element("li", { class: "faint" }, "No nodes here: its headers come from the peer."));
    return element("article", { class: "card" },
      element("div", { class: "head" }, element("h3", null, chain.name), state),
      element("p", { class: "height" + (moved ? " flash" : ""), "data-chain": chain.name }, number(chain.height)),
      element("dl", null, ...facts),
      element("ul", { class: "plain nodes", "aria-label": "Nodes of " + chain.name }, ...nodes));
  }));
}

function showPeers(status) {
  const chip = (peer) => element("li", null, pill(peer.is_up ? "good" : "bad", peer.name + (peer.is_up ? " up" : " down")));
  const none = () => [element("li", { class: "faint" }, "none")];
  const relays = status.peers.filter((peer) => peer.role === "relay").map(chip);
  const attesters = status.peers.filter((peer) => peer.role === "attester").map(chip);
  replace(byId("peers"), relays.length ? relays : none());
  replace(byId("attesters"), attesters.length ? attesters : none());
  const waiting = status.flows.filter((flow) => flow.waits_for === "attestations");
  const votes = waiting.map((flow) => element("li", null,
    flow.channel + " " + flow.source + " → " + flow.destination + " (" + flow.direction + "): " + flow.voters.length
      + (flow.voters.length === 1 ? " vote" : " votes") + (flow.needed ? " of " + flow.needed + " needed" : ""),
    element("ul", { class: "plain chips" },
      ...flow.voters.map((attester) => element("li", { title: attester }, pill("good", short(attester) + " signed"))),
      ...flow.awaited.map((attester) => element("li", { title: attester }, pill("warn", short(attester) + " awaited"))))));
  replace(byId("votes"), votes.length ? votes : [element("li", { class: "faint" }, "No head waits for signatures.")]);
}

/** What needs people comes first; the order within a state is the daemon's. */
const STATE_ORDER = ["stuck", "moving", "paused", "idle"];
const order = (lane) => STATE_ORDER.indexOf(lane.state);

function showLanes(report) {
  const lanes = [...report.lanes].sort((one, other) => order(one) - order(other));
  const nothing = (lane) => lane.waits_for === "idle";
  replace(byId("lanes"), lanes.map((lane) => element("tr", { "data-lane": lane.lane, class: lane.state },
    cell("Channel", null, element("strong", null, lane.channel)),
    cell("Way", null, lane.source + " → " + lane.destination),
    cell("State", null, pill(STATE_PILL[lane.state] || "bad", lane.state)),
    cell("Depth", "number quiet", number(lane.depth)),
    cell("Age", "number quiet", lane.oldest === null ? "–" : duration(now - lane.oldest)),
    cell("Finished", "number", number(lane.finished)),
    cell("Waits for", "quiet", nothing(lane) ? "–" : lane.waits_for),
    cell("Who must act", "quiet", nothing(lane) ? "–" : lane.who))));
}

function messageRows(messages, now) {
  return messages.map((message) => element("tr", null,
    cell("Message", "wide", element("a", { href: messageLink(message.lane, message.index), class: "mono", title: message.id },
      short(message.id))),
    cell("Channel", null, message.channel),
    cell("Index", "number", number(message.index)),
    cell("State", null, message.state + (message.outcome ? " (" + message.outcome + ")" : "")),
    cell("Age", "number", duration(now - message.block_time)),
    cell("Waits for", null, message.waits_for),
    cell("Who must act", null, message.who)));
}

function showUnderWay(report) {
  replace(byId("unfinished"), messageRows(report.messages, now));
  byId("unfinished-note").textContent = report.messages.length === 0 ? "None."
    : report.next ? "Only the first " + report.messages.length + " are shown: cityrelay messages --unfinished lists all." : "";
}

function exhibit(title, shown) {
  const facts = [];
  const add = (label, value) => facts.push(element("dt", null, label), element("dd", { class: "mono" }, value));
  if (shown.at !== null) add("At", number(shown.at));
  add("Hash", shown.hash);
  if (shown.parent !== null) add("After", shown.parent);
  if (shown.timestamp !== null) add("Time", moment(shown.timestamp));
  for (const signature of shown.signatures) add("Signed", signature);
  if (shown.raw_bytes > 0) add("Proof", number(shown.raw_bytes) + " bytes: cityrelay evidence --json shows them");
  return element("section", null, element("h4", null, title), element("dl", { class: "facts" }, ...facts));
}

function showEvidence(report) {
  const undecided = report.undecided.map((chain) => element("article", { class: "notice bad" },
    element("h3", null, "Chain " + chain.chain + " is frozen at block " + number(chain.height) + ": decide with one of"),
    ...chain.commands.map((command) => element("pre", { tabindex: "0" }, command))));
  const kept = report.evidence.map((entry) => element("article", { class: "card" },
    element("div", { class: "head" },
      element("h3", null, entry.kind + ": " + entry.about.replace(/0x[0-9a-f]{40,}/gi, short)),
      element("time", { datetime: new Date(entry.at).toISOString(), class: "faint" }, moment(entry.at))),
    entry.from === null ? null : element("p", null, "From " + entry.from + "."),
    element("p", { class: "advice" }, entry.advice),
    element("div", { class: "exhibits" }, exhibit("Held here", entry.ours), exhibit("Shown instead", entry.theirs))));
  replace(byId("evidence"), [...undecided, ...kept]);
  byId("evidence-none").hidden = undecided.length + kept.length > 0;
}

function showOrders(report) {
  replace(byId("orders"), report.orders.map((order) => element("tr", null,
    cell("When", null, moment(order.at).slice(0, 19)),
    cell("Who", null, order.user + " (" + order.uid + ")"),
    cell("What", null, order.action),
    cell("About", "wide", order.about.replace(/0x[0-9a-f]{40,}/gi, short)),
    cell("Why", "wide", order.reason || "–"))));
  byId("orders-none").hidden = report.orders.length > 0;
}

function showMessage(report, now) {
  byId("message-title").textContent = "Message " + number(report.index) + " of " + report.channel;
  const facts = [
    element("dt", null, "Id"), element("dd", { class: "mono" }, report.id || "not verified here"),
    element("dt", null, "Lane"), element("dd", { class: "mono" }, report.lane),
    element("dt", null, "State"),
    element("dd", null, pill(report.is_finished ? "good" : "warn", report.state), report.outcome ? " " + report.outcome : ""),
  ];
  if (!report.is_finished) {
    const next = report.next_step === null ? "" : "; next step in " + duration(report.next_step - now);
    facts.push(element("dt", null, "Waits for"), element("dd", null, report.waits_for + ": " + report.who + " must act" + next));
  }
  const steps = report.timeline.map((entry) => element("li", null,
    element("time", entry.at === null ? null : { datetime: new Date(entry.at).toISOString() },
      entry.at === null ? "time not kept" : moment(entry.at)),
    element("strong", null, entry.what), " ", element("span", { class: "faint" }, entry.detail)));
  replace(byId("message-body"), [
    element("dl", { class: "facts" }, ...facts),
    steps.length ? element("ol", { class: "steps" }, ...steps) : element("p", { class: "faint" }, "Nothing is known of it yet."),
  ]);
}

function showFound(report, query, now) {
  byId("message-title").textContent = "Messages whose id begins with " + query;
  const table = element("table", { class: "stack" }, element("thead", null, element("tr", null,
    ...["Message", "Channel", "Index", "State", "Age", "Waits for", "Who must act"].map((label) =>
      element("th", { scope: "col" }, label)))), element("tbody", null, ...messageRows(report.messages, now)));
  replace(byId("message-body"), [report.messages.length ? table : element("p", null, "None is known here.")]);
}

function showQuestionFailed(error) {
  byId("message-title").textContent = "No answer";
  replace(byId("message-body"), [element("p", { class: "notice bad" }, error.message)]);
}

/** Shows what the location's hash asks for: `#message/LANE/INDEX`, or `#find/DIGITS`. */
async function showAsked() {
  const [what, first, second] = location.hash.slice(1).split("/").map(decodeURIComponent);
  const isAsked = what === "message" || what === "find";
  byId("message").hidden = !isAsked;
  if (!isAsked) return;
  try {
    if (what === "message") {
      const query = new URLSearchParams({ lane: first || "", index: second || "" });
      showMessage((await ask("why?" + query)).why, now);
    } else {
      const query = new URLSearchParams({ id_prefix: first || "" });
      const report = (await ask("messages?" + query)).messages;
      if (report.messages.length === 1) showMessage((await ask("why?" + new URLSearchParams({ id: report.messages[0].id }))).why, now);
      else showFound(report, first, now);
    }
  } catch (error) {
    showQuestionFailed(error);
  }
}

let answeredAt = null;
let now = Date.now();
let news = null;
/** The newest answer of each kind: ages grow while nothing else changes. */
const newest = {};

function showOld(why) {
  const since = answeredAt === null ? "" : " What is shown is " + duration(Date.now() - answeredAt) + " old.";
  byId("stale").textContent = "The daemon does not answer: " + why + "." + since;
  byId("stale").hidden = false;
  byId("ready").textContent = "no answer";
  byId("ready").className = "pill bad";
}

function showNews(reply) {
  Object.assign(newest, reply);
  if (reply.status) {
    now = reply.status.now;
    answeredAt = Date.now();
    showStatus(reply.status);
    byId("stale").hidden = true;
    if (!byId("message").hidden) showAsked();
  }
  if (newest.lanes && (reply.lanes || reply.status)) showLanes(newest.lanes);
  if (newest.messages && (reply.messages || reply.status)) showUnderWay(newest.messages);
  if (reply.evidence) showEvidence(reply.evidence);
  if (reply.audit) showOrders(reply.audit);
}

/** Has the daemon tell what changes. The browser itself calls again after a broken connection, not after a refusal. */
function follow() {
  if (news !== null) news.close();
  news = new EventSource("/api/v1/news");
  news.onmessage = (event) => {
    try {
      showNews(replyOf(JSON.parse(event.data)));
    } catch (error) {
      showOld(error.message);
    }
  };
  news.onerror = () => {
    showOld("it is called again");
    if (news.readyState === EventSource.CLOSED) setTimeout(follow, REFUSED_MILLIS);
  };
}

setInterval(() => {
  if (answeredAt !== null && !document.hidden && Date.now() - answeredAt > SILENCE_MILLIS) showOld("nothing comes from it");
}, 1000);

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("query").value.trim();
  if (text === "") return;
  const place = /^(.+):(\d+)$/.exec(text);
  location.hash = place ? messageLink(place[1], place[2]) : "#find/" + encodeURIComponent(text);
});
byId("close").addEventListener("click", (event) => {
  event.preventDefault();
  location.hash = "";
  byId("query").focus();
});
addEventListener("hashchange", async () => {
  await showAsked();
  if (!byId("message").hidden) byId("message-title").focus();
});
addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    byId("query").focus();
  } else if (event.key === "Escape" && !byId("message").hidden) {
    location.hash = "";
  }
});
// A page that nobody sees needs no news.
document.addEventListener("visibilitychange", () => { if (document.hidden) news.close(); else follow(); });
showAsked();
follow();
