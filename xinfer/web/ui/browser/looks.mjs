// Every page in both themes and at 390 pixels: nothing serious for a screen reader, nothing wider than the window; pictures of all.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const WINDOWS = [["light", 1280], ["dark", 1280], ["light", 390], ["dark", 390]];

export async function looks(at) {
  await at.shell(`${at.xinfer} launch -t rerank -mp ${at.model} -u look -r 2`);
  const pages = {
    cluster: ["/", async () => undefined],
    launch: ["/launch", plan],
    progress: ["/launches/look", (page) => page.locator("[data-done]").waitFor()],
    model: ["/models/look", (page) => page.locator("canvas").first().waitFor()],
    playground: ["/playground?model=look", rank],
    logs: ["/logs", (page) => page.locator("[data-event]").first().waitFor()],
    login: ["/login", async () => undefined],
  };
  const wrong = [];
  for (const [theme, width] of WINDOWS) {
    const page = await at.open("/", { colorScheme: theme, viewport: { width, height: width < 500 ? 844 : 800 }, bypassCSP: true });
    await page.locator('[data-line="live"]').waitFor();
    for (const [name, [path, act]] of Object.entries(pages)) {
      await page.goto(at.url + path);
      await page.locator("h1").waitFor();
      await act(page, at);
      if (at.shots) await page.screenshot({ path: `${at.shots}/${name}-${width < 500 ? "narrow-" : ""}${theme}.png` });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (wide > 1) wrong.push(`${name} is ${wide} pixels too wide at ${width}`);
      await page.evaluate(AXE);
      const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      for (const it of found.violations.filter((each) => ["serious", "critical"].includes(each.impact)))
        wrong.push(`${name} ${theme} ${width}: ${it.id}: ${it.nodes.slice(0, 4).map((node) => node.html.slice(0, 110)).join(" | ")}`);
    }
    await page.getByRole("button", { name: "中文" }).click();
    await page.getByRole("heading", { name: "登录" }).waitFor();
    at.calm(page);
    await page.context().close();
  }
  await at.shell(`${at.xinfer} stop look --force`);
  at.check(wrong.length === 0, [...new Set(wrong)].join("\n"));
}

async function plan(page, at) {
  await page.getByText("Folder on the workers").click();
  await page.getByLabel("Path of the folder").fill(at.model);
  await page.getByRole("textbox", { name: "Replicas" }).fill("2");
  await page.locator('[data-fits="true"]').waitFor();
  await page.locator("[data-ghost]").first().waitFor();
}

async function rank(page) {
  await page.getByRole("button", { name: "Rank", exact: true }).click();
  await page.locator("[data-rank]").nth(9).waitFor();
  await page.locator("[data-served] [data-replica]").first().waitFor();
}
