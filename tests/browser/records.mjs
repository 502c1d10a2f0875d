// Looks at what a daemon's status page shows of its records, orders of operators or evidence, and whether it follows a
// daemon that goes away and returns.
//
//   node records.mjs URL orders|evidence|return SCREENSHOTS
//
// With `return` it makes the file `SCREENSHOTS/open` once the page is live, and waits for the daemon to go. Fails with the
// first thing that is not as it should be; prints one line when all is.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { WAIT, launch } from "./chromium.mjs";

const [url, what, screenshots] = process.argv.slice(2);
const browser = await launch();
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  await page.goto(url, WAIT);
  if (what === "orders") {
    await page.waitForFunction(() => document.querySelectorAll("#orders tr").length > 0, null, WAIT);
    const rows = await page.locator("#orders tr").allInnerTexts();
    // Newest first, with who, about what and why.
    assert.ok(rows.at(-1).includes("pause") && rows.at(-1).includes("trade") && rows.at(-1).includes("a look at the receiver"),
      rows.join("\n"));
    assert.match(rows.at(-1), /\(\d+\)/);
    assert.ok(await page.locator("#orders-none").isHidden());
  } else if (what === "return") {
    await page.waitForFunction(() => document.querySelectorAll("#lanes tr").length > 0, null, WAIT);
    writeFileSync(`${screenshots}/open`, "");
    await page.waitForFunction(() => document.querySelector("#ready").innerText === "no answer", null, WAIT);
    assert.match(await page.locator("#stale").innerText(), /^The daemon does not answer/);
    await page.screenshot({ path: `${screenshots}/away.png` });
    await page.waitForFunction(() => document.querySelector("#stale").hidden
      && document.querySelector("#ready").innerText !== "no answer", null, WAIT);
  } else {
    await page.waitForFunction(() => document.querySelectorAll("#evidence article").length > 1, null, WAIT);
    // What must be decided comes first, with a command for each of the two.
    const decision = page.locator("#evidence article").first();
    assert.match(await decision.innerText(), /is frozen at block/);
    const commands = await decision.locator("pre").allInnerTexts();
    assert.equal(commands.length, 2);
    for (const command of commands) assert.match(command, /^cityrelay unfreeze --chain \S+ --choose 0x[0-9a-f]{64} --other 0x[0-9a-f]{64}/);
    const [, chosen, other] = /--choose (\S+) --other (\S+)/.exec(commands[0]);
    assert.ok(commands[1].includes("--choose " + other + " --other " + chosen));
    // Both statements side by side, and what to do.
    const entry = page.locator("#evidence article.card", { hasText: chosen }).first();
    const text = await entry.innerText();
    for (const words of ["Held here", "Shown instead", chosen, other, "Ask other institutions"]) {
      assert.ok(text.includes(words), words + " is missing:\n" + text);
    }
    assert.ok(await page.locator("#evidence-none").isHidden());
    assert.match(await page.locator("#attention").innerText(), /two statements about one height/);
  }
  await page.screenshot({ path: `${screenshots}/${what}.png`, fullPage: true });
  await page.setViewportSize({ width: 360, height: 740 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 360, `the page is ${wide} px wide on a phone of 360 px`);
  console.log(`${what} are shown as they should be`);
} finally {
  await browser.close();
}
