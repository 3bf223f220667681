// Plays a recording to its end with asciinema's own player in Chromium, and prints what the terminal then shows as one line of
// JSON.
//
//   node play.mjs FILE
//
// tests/it/gateway_clients.rs judges; nothing here does.

import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const bundle = new URL("node_modules/asciinema-player/dist/bundle/", import.meta.url);
const [player, style] = ["asciinema-player.min.js", "asciinema-player.css"].map((name) =>
  readFileSync(new URL(name, bundle), "utf8"),
);
const cast = readFileSync(process.argv[2], "utf8");
const seen = { errors: [], requests: [] };

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  // Root has no sandbox; the rest keeps the browser from calling home.
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
try {
  const page = await browser.newPage();
  page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("request", (request) => seen.requests.push(request.url()));
  await page.setContent('<div id="player"></div>');
  await page.addStyleTag({ content: style });
  await page.addScriptTag({ content: player });
  const duration = await page.evaluate(
    (data) =>
      new Promise((done) => {
        const made = AsciinemaPlayer.create({ data }, document.querySelector("#player"), { speed: 20, terminalFontSize: "12px" });
        made.addEventListener("ended", async () => done(await made.getDuration()));
        made.play();
      }),
    cast,
  );
  seen.duration = duration;
  await page.waitForFunction(() => document.querySelector(".ap-term, .ap-terminal") !== null);
  seen.text = await page.locator(".ap-term, .ap-terminal").first().innerText();
  if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/cast.png` });
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
