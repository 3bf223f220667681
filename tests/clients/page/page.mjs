// Opens a page of `jitd scan` in Chromium as somebody would, and prints what it saw as one line of JSON.
//
//   node page.mjs FILE WORD    WORD is searched for, and has to be in some findings only
//
// crates/jit-scan/tests/page.rs judges; nothing here does.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [file, word] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const seen = { errors: [], requests: [], dialogs: 0 };

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  // Root has no sandbox; the rest keeps the browser from calling home.
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
try {
  const open = async (options) => {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
    page.on("pageerror", (error) => seen.errors.push(String(error)));
    page.on("dialog", (dialog) => {
      seen.dialogs += 1;
      return dialog.dismiss();
    });
    page.on("request", (request) => seen.requests.push(request.url()));
    await page.goto(pathToFileURL(file).href);
    return page;
  };
  // Chromium's protocol runs a script whatever the policy of the page says.
  const violations = async (page) => {
    await page.evaluate(axe);
    const result = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })");
    return result.violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes[0].html}`);
  };
  const count = (page) => page.locator("#findings > li").count();
  const overflows = (page) => page.evaluate("document.documentElement.scrollWidth > window.innerWidth");

  const page = await open({ viewport: { width: 1280, height: 900 } });
  seen.title = await page.title();
  seen.findings = await count(page);
  seen.status = await page.locator("#count").textContent();
  seen.images = await page.locator("img").count();
  seen.axe = await violations(page);

  await page.locator("#search").fill(word);
  seen.searched = await count(page);
  await page.locator("#clear").click();
  seen.cleared = await count(page);

  await page.locator("#findings button").first().click();
  seen.steps = await page.locator("#findings .details:visible li").allTextContents();
  seen.marked = await page.locator("#graph g.on").count();
  seen.openAxe = await violations(page);
  if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/wide.png`, fullPage: true });

  // By keyboard, as whoever uses no mouse.
  await page.locator("#graph g").first().focus();
  await page.keyboard.press("Enter");
  seen.through = await count(page);
  await page.locator("#clear").click();

  const boxes = page.locator("#severities input");
  for (let at = 1; at < await boxes.count(); at += 1) await boxes.nth(at).uncheck();
  seen.worstOnly = await page.locator("#findings .severity").allTextContents();

  await page.emulateMedia({ media: "print" });
  seen.printed = await page.locator("#findings .details:visible").count();
  seen.printedFilters = await page.locator("#filters input:visible").count();

  const phone = await open({ viewport: { width: 360, height: 740 }, isMobile: true, colorScheme: "dark" });
  seen.phoneOverflows = await overflows(phone);
  seen.phoneAxe = await violations(phone);
  await phone.locator("#findings button").first().tap().catch(() => phone.locator("#findings button").first().click());
  seen.phoneSteps = await phone.locator("#findings .details:visible li").count();
  if (process.env.PICTURES) await phone.screenshot({ path: `${process.env.PICTURES}/phone.png`, fullPage: true });
  seen.stillFits = !(await overflows(phone));
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
