// What must hold in the pages, each against a real server with real replicas.
export { looks } from "./looks.mjs";
export { many } from "./many.mjs";

const slots = async (at, uid) => (await at.get(`/v1/models/${uid}/replicas`)).map((it) => it.slot);
const ready = (at, uid, count) => at.until(async () => (await at.get(`/v1/models/${uid}/replicas`).catch(() => [])).filter((it) => it.phase === "ready").length === count, `${count} replicas of ${uid} ready`);
const stop = (at, uid) => at.shell(`${at.xinfer} stop ${uid} --force`);

/** A launch from elsewhere is on the right tiles within two seconds, without a reload. */
export async function follows(at) {
  const page = await at.open("/");
  const launching = at.shell(`${at.xinfer} launch -t rerank -mp ${at.model} -u fol -r 2`);
  for (const name of ["fol-0", "fol-1"]) {
    const slot = await at.until(async () => (await at.get("/v1/models/fol/replicas").catch(() => [])).find((it) => it.replica_model_uid === name)?.slot, `${name} placed`);
    const known = Date.now();
    await page.locator(`[data-slot="${slot}"] [data-replica="${name}"]`).waitFor({ timeout: 2000 });
    at.check(Date.now() - known < 2000, "it took longer than two seconds");
  }
  await launching;
  await page.locator('[data-replica="fol-1"][data-phase="ready"]').waitFor({ timeout: 2000 });
  await stop(at, "fol");
  await page.locator('[data-replica="fol-1"]').waitFor({ state: "detached" });
  at.calm(page);
}

async function fill(at, page, uid, replicas = 1) {
  await page.getByText("Folder on the workers").click();
  await page.getByLabel("Path of the folder").fill(at.model);
  await page.getByLabel("Name (uid)").fill(uid);
  if (replicas !== 1) await page.getByRole("textbox", { name: "Replicas" }).fill(String(replicas));
}

/** One pinned by click, one by keyboard, one automatic; by dragging too; and the command line gives the same slots. */
export async function pins(at) {
  const page = await at.open("/launch");
  const [a, b] = at.workers;
  await fill(at, page, "pin", 3);
  await page.locator('[data-fits="true"]').waitFor();
  const target = page.locator(`[data-slot="${a}@3"]`);
  await target.scrollIntoViewIfNeeded();
  const grip = await page.locator('[data-handle="2"]').boundingBox();
  const place = await target.boundingBox();
  at.check(grip && place && grip.y > 0, "nothing to drag");
  await page.mouse.move(grip.x + 10, grip.y + 8);
  await page.mouse.down();
  await page.mouse.move(grip.x + 40, grip.y + 30, { steps: 4 });
  await page.mouse.move(place.x + place.width / 2, place.y + place.height / 2, { steps: 12 });
  await page.mouse.up();
  await page.locator(`[data-handle="2"]`, { hasText: `${a}@3` }).waitFor();
  await page.getByRole("button", { name: "Unpin replica 2" }).click();
  await page.locator(`[data-slot="${a}@2"] .tile-pick`).click({ position: { x: 6, y: 6 } });
  await page.locator(`[data-slot="${b}@1"] .tile-pick`).focus();
  await page.keyboard.press("Enter");
  await page.locator(`[data-slot="${a}@2"] [data-ghost="0"]`).waitFor();
  await page.locator(`[data-slot="${b}@1"] [data-ghost="1"]`).waitFor();
  // Until the plan is that of what is pinned now, nothing can be launched.
  await at.until(async () => (await page.getByRole("button", { name: "Launch", exact: true }).isEnabled()), "the plan");
  const automatic = page.locator('[data-ghost="2"]').first();
  await automatic.waitFor();
  const shown = await page.locator("[data-slot]", { has: automatic }).getAttribute("data-slot");
  const line = await page.locator('[data-code="CLI"]').innerText();
  await page.getByRole("button", { name: "Launch", exact: true }).click();
  await page.waitForURL("**/launches/pin");
  await page.locator("[data-done]").waitFor({ timeout: 60_000 });
  const wanted = [`${a}@2`, `${b}@1`, shown];
  const found = await slots(at, "pin");
  at.check(JSON.stringify(found) === JSON.stringify(wanted), `on ${found}, shown on ${wanted}`);
  await page.goto(`${at.url}/`);
  for (const [n, slot] of wanted.entries()) await page.locator(`[data-slot="${slot}"] [data-replica="pin-${n}"]`).waitFor();
  await stop(at, "pin");
  await at.until(async () => !(await at.get("/v1/models")).data.length, "the model stopped");
  await at.shell(line.replace("xinfer", at.xinfer));
  const again = await slots(at, "pin");
  at.check(JSON.stringify(again) === JSON.stringify(wanted), `the command line put them on ${again}`);
  await stop(at, "pin");
  at.calm(page);
}

/** A launch placed by its GPU indices, used again: its replicas are shown pinned, where they will be. */
export async function repeats(at) {
  const [a] = at.workers;
  await at.shell(`${at.xinfer} launch -t rerank -mp ${at.model} -u rep -r 2 --worker-ip ${a} --gpu-idx 3,1`);
  const wanted = await slots(at, "rep");
  await stop(at, "rep");
  const page = await at.open("/launch");
  await page.getByText("Recent launches").click();
  await page.locator("li", { hasText: "rep" }).getByRole("button", { name: "Use again" }).first().click();
  for (const [ordinal, slot] of wanted.entries()) {
    await page.locator(`[data-handle="${ordinal}"]`, { hasText: slot }).waitFor();
    await page.locator(`[data-slot="${slot}"] [data-ghost="${ordinal}"]`, { hasText: "pinned" }).waitFor();
  }
  await page.getByRole("button", { name: "Launch", exact: true }).click();
  await page.waitForURL("**/launches/rep");
  await ready(at, "rep", 2);
  at.check(JSON.stringify(await slots(at, "rep")) === JSON.stringify(wanted), "they came elsewhere");
  await stop(at, "rep");
  at.calm(page);
}

/** What cannot fit is refused before it is sent, with the reason on each tile and what would help. */
export async function refuses(at) {
  const page = await at.open("/launch");
  const sent = [];
  page.on("request", (request) => { if (request.method() === "POST" && request.url().endsWith("/v1/models?wait_ready=false")) sent.push(request.url()); });
  await fill(at, page, "big");
  await page.getByLabel("Memory of each replica").fill("100GiB");
  const told = page.locator('[data-fits="false"]');
  await told.waitFor();
  at.check((await told.innerText()).includes("What would help:"), "nothing is said to help");
  at.check(await page.getByRole("button", { name: "Launch", exact: true }).isDisabled(), "it could be sent");
  const reasons = await page.locator("[data-refused] [data-verdict]").allInnerTexts();
  at.check(reasons.length === 8 && reasons.every((reason) => reason.length > 10), `reasons: ${reasons}`);
  await page.getByLabel("Memory of each replica").fill("much");
  await page.getByRole("alert").filter({ hasText: "memory must be a size" }).waitFor();
  at.check(sent.length === 0, "it was sent");
}

/** A reload in mid-launch and a second window show the same launch; the control process's death is got over. */
export async function reloads(at) {
  const page = await at.open("/launch");
  const sent = [];
  page.on("request", (request) => { if (request.method() === "POST" && request.url().includes("/v1/models")) sent.push(request.url()); });
  await fill(at, page, "rel", 2);
  await page.locator('[data-fits="true"]').waitFor();
  await page.getByRole("button", { name: "Launch", exact: true }).click();
  await page.waitForURL("**/launches/rel");
  await page.locator('[data-replica="rel-0"]').waitFor();
  await page.reload();
  const other = await at.open("/launches/rel");
  for (const each of [page, other]) await each.locator("[data-done]").waitFor({ timeout: 60_000 });
  at.check(sent.length === 1, `sent ${sent.length} times`);
  at.check((await at.get("/v1/models")).data.length === 1, "launched twice");
  const events = async () => (await other.locator("[data-event]").evaluateAll((rows) => rows.map((row) => row.dataset.event)));
  await other.goto(`${at.url}/logs`);
  await other.locator("[data-event]").first().waitFor();
  process.kill(at.control, "SIGKILL");
  await other.locator('[data-line="away"], [data-line="broken"]').waitFor();
  await other.locator('[data-line="live"]').waitFor({ timeout: 40_000 });
  await ready(at, "rel", 2);
  const seen = await events();
  at.check(new Set(seen).size === seen.length, "an event is there twice");
  await other.goto(`${at.url}/`);
  for (const name of ["rel-0", "rel-1"]) at.check((await other.locator(`.tile [data-replica="${name}"]`).count().then((count) => count || other.locator(`[data-replica="${name}"]`).waitFor().then(() => 1))) === 1, `${name} is not there once`);
  await stop(at, "rel");
}

/** A killed replica shows within three seconds; why, how often and its last words are there. */
export async function dies(at) {
  await at.shell(`${at.xinfer} launch -t rerank -mp ${at.model} -u die`);
  const page = await at.open("/");
  const chip = page.locator('[data-replica="die-0"]');
  await chip.and(page.locator('[data-phase="ready"]')).waitFor();
  const [{ pid }] = await at.get("/v1/models/die/replicas");
  const model = await at.open("/models/die");
  await model.locator('tr[data-replica="die-0"][data-phase="ready"]').waitFor();
  const killed = Date.now();
  process.kill(pid, "SIGKILL");
  await page.locator('[data-replica="die-0"]:not([data-phase="ready"])').waitFor({ timeout: 3000 });
  const took = Date.now() - killed;
  await model.locator('[data-reason="die-0"]').filter({ hasText: "Why it ended" }).waitFor();
  await model.locator('[data-restarts="1"]').waitFor({ timeout: 30_000 });
  await model.locator("tr", { hasText: "ended" }).first().waitFor();
  await ready(at, "die", 1);
  await model.goto(`${at.url}/launches/die`);
  await model.locator("summary", { hasText: "What replica 0 writes" }).click();
  await at.until(async () => (await model.getByRole("log").innerText()).length > 20, "its last words");
  await stop(at, "die");
  at.calm(page);
  return `held: shown after ${took} ms`;
}

/** A killed worker shows within three seconds, and comes back. */
export async function loses(at) {
  const page = await at.open("/");
  const row = page.locator("[data-worker]", { hasText: at.workers[1] });
  await row.and(page.locator('[data-state="alive"]')).waitFor();
  const killed = Date.now();
  process.kill(at.worker, "SIGKILL");
  await page.locator('[data-worker]:not([data-state="alive"]) [data-gone]').first().waitFor({ timeout: 3000 });
  const took = Date.now() - killed;
  await page.locator('[data-state="alive"]').nth(1).waitFor({ timeout: 40_000 });
  return `held: shown after ${took} ms`;
}

/** Fifty documents ranked, with the replicas that served them; the code runs as pasted. */
export async function ranks(at) {
  await at.shell(`${at.xinfer} launch -t rerank -mp ${at.model} -u ran -r 2`);
  const page = await at.open("/playground?model=ran");
  await page.getByRole("button", { name: "Example with 50" }).click();
  await page.getByRole("button", { name: "Rank", exact: true }).click();
  await page.locator("[data-rank]").nth(49).waitFor();
  const scores = (await page.locator("[data-rank] .mono").allInnerTexts()).map(Number);
  at.check(scores.length === 50 && scores.every((score, n) => n === 0 || score <= scores[n - 1]), "not ranked");
  at.check(/^\d+ ms; 50 documents$/.test(await page.locator("[data-took]").innerText()), "no latency");
  const served = await page.locator("[data-served] [data-replica]").allInnerTexts();
  at.check(served.length === 2 && served.every((line) => line.includes("@")), `served by ${served}`);
  await page.getByRole("button", { name: "View code" }).click();
  await page.getByRole("tab", { name: "Python" }).click();
  const code = await page.locator('[data-code="Python"]').innerText();
  const printed = (await at.shell(`${at.python} - <<'CODE'\n${code}\nCODE`)).trim().split("\n");
  at.check(printed.length === 50, `the code printed ${printed.length} lines`);
  await stop(at, "ran");
  at.calm(page);
}

/** From nothing to a ranked answer in five clicks. */
export async function newcomer(at) {
  const page = await at.open("/");
  let clicks = 0;
  const click = async (target) => { await target.click(); clicks += 1; };
  await click(page.getByRole("link", { name: "Launch the first one" }));
  await click(page.getByText("Folder on the workers"));
  await page.getByLabel("Path of the folder").fill(at.model);
  await page.locator('[data-fits="true"]').waitFor();
  await click(page.getByRole("button", { name: "Launch", exact: true }));
  await page.locator("[data-done]").waitFor({ timeout: 60_000 });
  await click(page.getByRole("link", { name: "Try it" }));
  await click(page.getByRole("button", { name: "Rank", exact: true }));
  await page.locator("[data-rank]").nth(9).waitFor();
  at.check(clicks <= 5, `${clicks} clicks`);
  const [{ id }] = (await at.get("/v1/models")).data;
  await stop(at, id);
  at.calm(page);
  return `held: ${clicks} clicks`;
}

/** Where keys are on: no page without one; it stays in the tab. */
export async function enters(at) {
  const page = await at.open("/", { expected: ["401"] });
  await page.waitForURL("**/login");
  await page.getByLabel("API key").fill("xk-wrong");
  await page.getByRole("button", { name: "Log in", exact: true }).click();
  await page.getByText("That is no key of this server.").waitFor();
  await page.getByLabel("API key").fill(at.key);
  await page.getByRole("button", { name: "Log in", exact: true }).click();
  await page.locator("[data-worker]").first().waitFor();
  await page.locator('[data-line="live"]').waitFor();
  at.check(!page.url().includes(at.key), "the key is in the address");
  const kept = await page.evaluate(() => JSON.stringify({ ...localStorage }) + document.cookie);
  at.check(!kept.includes(at.key), "the key outlives the tab");
  await page.reload();
  await page.locator("[data-worker]").first().waitFor();
  await page.getByRole("button", { name: "Log out" }).click();
  await page.waitForURL("**/login");
  await page.goto(`${at.url}/`);
  await page.waitForURL("**/login");
}
