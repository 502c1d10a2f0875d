// Debian's Chromium without a screen, and how long anything in it may take.
import { chromium } from "playwright-core";

// Generous: the machine may be busy with six daemons.
export const WAIT = { timeout: 60_000 };

export function launch() {
  return chromium.launch({
    executablePath: process.env.CITYRELAY_CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
}
