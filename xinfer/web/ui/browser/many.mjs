// 200 workers of 8 devices: soon there, and scrolling goes on while it changes.
const FIRST = 2000;
const LONG = 100;

export async function many(at) {
  const page = await at.open("/");
  await page.locator("[data-worker]").nth(at.count - 1).waitFor({ state: "attached", timeout: 60_000 });
  const times = [];
  for (let turn = 0; turn < 3; turn += 1) {
    await page.evaluate(() => localStorage.length);
    const begun = Date.now();
    await page.goto(`${at.url}/`);
    await page.locator("[data-worker]").nth(at.count - 1).waitFor({ state: "attached" });
    times.push(Date.now() - begun);
  }
  const first = times.sort((a, b) => a - b)[1];
  await page.evaluate(() => {
    window.tasks = [];
    new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((it) => it.duration))).observe({ entryTypes: ["longtask"] });
  });
  for (let turn = 0; turn < 40; turn += 1) {
    await page.mouse.wheel(0, turn < 20 ? 900 : -900);
    await page.waitForTimeout(150);
  }
  const tasks = (await page.evaluate(() => window.tasks)).sort((a, b) => a - b);
  const median = tasks[Math.floor(tasks.length / 2)] ?? 0;
  await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
  await page.locator("[data-worker]").nth(at.count - 1).scrollIntoViewIfNeeded();
  await page.locator("[data-worker]").nth(at.count - 1).locator("[data-slot]").first().waitFor();
  at.check(first <= FIRST * at.patience, `first paint after ${first} ms`);
  at.check(median < LONG * at.patience, `long tasks of ${Math.round(median)} ms at the median (${tasks.length})`);
  at.calm(page);
  return `held: all ${at.count} workers after ${first} ms (of ${times.join(", ")}), ${tasks.length} long tasks, ${Math.round(median)} ms at the median`;
}
