// Looks at a relay's status page as a person would, in headless Chromium.
//
//   node look.mjs URL CHAIN SCREENSHOTS
//
// CHAIN is a chain whose blocks go on. Fails with the first thing that is not as it should be; prints one line when all is.
import assert from "node:assert/strict";
import { WAIT, launch } from "./chromium.mjs";

const [url, chain, screenshots] = process.argv.slice(2);
const browser = await launch();
const complaints = [];
const requests = [];

async function open(options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => requests.push({ method: request.method(), url: request.url() }));
  await page.goto(url, WAIT);
  await page.waitForFunction(() => document.querySelectorAll("#lanes tr").length > 0, null, WAIT);
  return page;
}

try {
  const page = await open({ viewport: { width: 1280, height: 900 }, colorScheme: "light" });

  // Live: the verified height moves while nobody touches the page.
  const height = () => page.locator(`[data-chain="${chain}"]`).innerText();
  const before = await height();
  assert.match(before, /^[\d,]+$/);
  await page.waitForFunction(([name, old]) => document.querySelector(`[data-chain="${name}"]`).innerText !== old,
    [chain, before], WAIT);

  // Ages grow while nothing else changes.
  const age = () => page.locator("#lanes tr td[data-label=Age]").first().innerText();
  await page.waitForFunction(() => document.querySelector("#lanes td[data-label=Age]").innerText.includes(" s"), null, WAIT);
  const young = await age();
  await page.waitForFunction((old) => document.querySelector("#lanes td[data-label=Age]").innerText !== old, young, WAIT);

  // What is stuck, why, and who must act: fewer attesters run than must sign.
  await page.waitForFunction(() => [...document.querySelectorAll("#lanes tr")].some((row) =>
    row.innerText.includes("attestations") && row.innerText.includes("the attesters")), null, WAIT);
  await page.waitForFunction(() => document.querySelector("#ready").innerText === "not ready", null, WAIT);
  assert.match(await page.locator("#attention").innerText(), /attesters/);
  assert.match(await page.locator("#attesters").innerText(), /attester-3 down/);
  // Who has signed, and who has not.
  await page.waitForFunction(() => [...document.querySelectorAll("#votes > li")].some((head) =>
    /\b2 votes of 3 needed/.test(head.innerText) && head.querySelectorAll(".pill.good").length === 2
      && head.querySelectorAll(".pill.warn").length === 2), null, WAIT);
  assert.match(await page.locator("#evidence-none").innerText(), /^None/);
  assert.match(await page.locator("#orders-none").innerText(), /^None/);
  await page.screenshot({ path: `${screenshots}/light.png`, fullPage: true });

  // By keyboard alone: the skip link comes first, / goes to the search, Enter asks, Escape closes.
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "query");
  const link = page.locator("#unfinished a").first();
  const id = await link.getAttribute("title");
  await page.keyboard.type(id.slice(0, 14));
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelectorAll(".steps li").length > 0, null, WAIT);
  assert.ok((await page.locator("#message").innerText()).includes(id));
  assert.match(await page.locator(".steps").innerText(), /message verified/);
  assert.match(await page.locator("#message").innerText(), /attestations: the attesters must act/);
  assert.equal(await page.evaluate(() => document.activeElement.id), "message-title");
  await page.screenshot({ path: `${screenshots}/timeline.png`, fullPage: true });
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.querySelector("#message").hidden, null, WAIT);

  // A link in the table keeps the focus over several rounds of news, and leads to the timeline.
  await link.focus();
  for (let round = 0; round < 3; round += 1) {
    const shown = await page.locator("#updated").innerText();
    await page.waitForFunction((old) => document.querySelector("#updated").innerText !== old, shown, WAIT);
  }
  assert.equal(await page.evaluate(() => document.activeElement.title), id);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelectorAll(".steps li").length > 0, null, WAIT);

  // What comes from elsewhere is text: a question with markup in it makes none.
  await page.evaluate(() => { location.hash = "#message/" + encodeURIComponent("<img src=x onerror=alert(1)>") + "/1"; });
  await page.waitForFunction(() => document.querySelector("#message").innerText.includes("<img src=x"), null, WAIT);
  assert.equal(await page.locator("#message img").count(), 0);
  const light = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.close();
  // That question was wrong, and the browser says so in its console.
  assert.ok(complaints.splice(0).every((text) => text.includes("400 (Bad Request)")), complaints.join("\n"));

  // Nothing but this daemon was asked, and nothing but reading.
  const origin = new URL(url).origin;
  for (const request of requests) {
    assert.equal(request.method, "GET", request.url);
    assert.ok(request.url.startsWith(origin + "/"), request.url);
  }

  // Dark, and as wide as a phone: nothing runs out of the side.
  const dark = await open({ viewport: { width: 1280, height: 900 }, colorScheme: "dark" });
  const ground = await dark.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.notEqual(ground, light);
  await dark.screenshot({ path: `${screenshots}/dark.png`, fullPage: true });
  const phone = await open({ viewport: { width: 360, height: 740 }, colorScheme: "light", isMobile: true, hasTouch: true });
  const wide = await phone.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 360, `the page is ${wide} px wide on a phone of 360 px`);
  await phone.screenshot({ path: `${screenshots}/phone.png`, fullPage: true });

  assert.deepEqual(complaints, []);
  console.log("the page is as it should be");
} finally {
  await browser.close();
}
