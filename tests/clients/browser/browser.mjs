// Somebody logs in at an identity provider in Chromium:
//
//   node browser.mjs ADDRESS NAME [SECRET]    NAME is the password too; SECRET is that of one-time passwords (RFC 6238)
//
// Fills in what the pages ask for, presses what they offer first, and prints what it saw as one line of JSON.
// tests/it/oidc.rs and tests/it/keycloak.rs judge; nothing here does. Pictures of the last page go to $PICTURES.

import crypto from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [address, name, secret] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const seen = { errors: [] };

function oneTimePassword() {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)));
  const digest = crypto.createHmac("sha1", secret).update(counter).digest();
  const code = digest.readUInt32BE(digest.at(-1) & 15) & 0x7fffffff;
  return String(code % 1_000_000).padStart(6, "0");
}

const fields = { as: () => name, username: () => name, password: () => name, otp: oneTimePassword };

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  // Root has no sandbox; the rest keeps the browser from calling home.
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
try {
  // The provider's authority is one of the test's own, which Chromium could only be told for the whole host.
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 900, height: 600 } });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(address);
  const offered = page.locator("[type=submit]:visible, form button:not([type]):visible").first();
  const end = page.getByText(/You are (not )?logged in|Success/).first();
  for (let step = 0; step < 10; step += 1) {
    await offered.or(end).first().waitFor();
    if (await end.isVisible()) break;
    for (const [field, value] of Object.entries(fields)) {
      const input = page.locator(`input[name=${field}]:visible`);
      if (await input.count()) await input.fill(value());
    }
    const next = page.waitForEvent("framenavigated");
    await offered.click();
    await next;
    await page.waitForLoadState();
  }
  page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
  seen.address = page.url();
  seen.text = await page.locator("body").innerText();
  if (seen.address.startsWith("http://127.0.0.1")) {
    await page.evaluate(axe);
    const { violations } = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })");
    seen.axe = violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes[0].html}`);
    if (process.env.PICTURES) {
      await page.screenshot({ path: `${process.env.PICTURES}/light.png` });
      await page.emulateMedia({ colorScheme: "dark" });
      await page.setViewportSize({ width: 360, height: 640 });
      await page.screenshot({ path: `${process.env.PICTURES}/dark.png` });
    }
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
