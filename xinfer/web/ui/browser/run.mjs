// Runs one flow in Chromium against a server that runs: node run.mjs FLOW CONTEXT.json
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";

import { chromium } from "playwright-core";

import * as flows from "./flows.mjs";

const [name, file] = process.argv.slice(2);
const given = JSON.parse(readFileSync(file, "utf8"));
const flow = flows[name];
if (!flow) throw new Error(`there is no flow ${name}`);

const browser = await chromium.launch({
  executablePath: given.chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

/** What a flow has at hand beside what it was given. */
const at = {
  ...given,
  browser,
  /** A new window; what the page complains of fails the flow, but for answers that the flow expects. */
  async open(path = "/", { expected = [], ...options } = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light", locale: "en-US", ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    page.complaints = [];
    page.answers = [];
    page.on("pageerror", (error) => page.complaints.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error" && !expected.some((part) => message.text().includes(part))) page.complaints.push(`${message.text()} ${message.location().url}`);
    });
    page.on("response", async (reply) => {
      if (reply.status() >= 400) page.answers.push(`${reply.status()} ${reply.url()} ${await reply.text().catch(() => "")}`);
    });
    await page.goto(given.url + path);
    await page.waitForSelector("h1");
    return page;
  },
  async get(path) {
    const reply = await fetch(given.url + path);
    if (!reply.ok) throw new Error(`${path}: ${reply.status} ${await reply.text()}`);
    return reply.json();
  },
  /** In a shell, as it would be pasted. */
  async shell(line) {
    return (await promisify(execFile)("sh", ["-c", line], { env: given.env, timeout: 120_000 })).stdout;
  },
  async until(look, what, seconds = 60) {
    const end = Date.now() + seconds * 1000;
    for (;;) {
      const found = await look();
      if (found) return found;
      if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
      await new Promise((go) => setTimeout(go, 50));
    }
  },
  check(holds, what) {
    if (!holds) throw new Error(what);
  },
  calm(page) {
    if (page.complaints.length) throw new Error(`the page complains: ${[...page.complaints, ...page.answers].join("\n")}`);
  },
};

try {
  console.log((await flow(at)) ?? "held");
} catch (error) {
  const page = browser.contexts().at(-1)?.pages().at(-1);
  if (page) await page.screenshot({ path: `${given.out}/${name}.png`, fullPage: true }).catch(() => undefined);
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser.close();
}
