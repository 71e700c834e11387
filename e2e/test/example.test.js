// The example page (examples/webapp), walked from one end to the other as somebody does who has no mouse and a small screen.
import assert from "node:assert/strict";
import { scenario, until } from "../harness.js";

const text = (page, id) => page.locator(`#${id}`).textContent();
const focused = (page) => page.evaluate(() => document.activeElement.id);

/** The page has come to rest in a state, and nothing of it is wider than the screen. */
async function rest(page, state) {
  await page.locator(`#app[data-state="${state}"][aria-busy="false"]`).waitFor();
  const [content, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(content <= screen, `${content} px of content on ${screen} px, ${state}`);
}

/** Goes to a control by the Tab key, sees that the focus shows, and presses Enter there. */
async function enter(page, id) {
  for (let steps = 0; (await focused(page)) !== id; steps++) {
    assert.ok(steps < 40, `#${id} cannot be reached by Tab`);
    await page.keyboard.press("Tab");
  }
  const shows = await page.evaluate(() => {
    const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
    const { top, bottom } = document.activeElement.getBoundingClientRect();
    return document.activeElement.matches(":focus-visible") && outlineStyle !== "none" && parseFloat(outlineWidth) > 0 &&
      top >= 0 && bottom <= innerHeight;
  });
  assert.ok(shows, `the focus on #${id} cannot be seen`);
  await page.keyboard.press("Enter");
}

async function reload(page, by) {
  await Promise.all([page.waitForEvent("load"), by()]);
}

async function assertCounts(page, want) {
  const read = async () => Object.fromEntries(await Promise.all(Object.keys(want).map(async (id) => [id, Number(await text(page, id))])));
  assert.deepEqual(await read(), want);
}

scenario("the example, by keyboard alone at 360 px", async (w) => {
  const complaints = [];
  w.context.on("console", (m) => {
    // What the browser itself says of answers that are meant: the SDK's question of a new browser, and the refused replay.
    if (["error", "warning"].includes(m.type()) && !/^Failed to load resource: .* status of (401|409)/.test(m.text())) complaints.push(m.text());
  });
  w.context.on("weberror", (e) => complaints.push(String(e.error())));
  const page = await w.context.newPage();
  await page.setViewportSize({ width: 360, height: 640 });
  await page.goto(w.www);
  await rest(page, "signed-out");

  await enter(page, "to-sign-in");
  assert.equal(await focused(page), "submit");
  await enter(page, "submit");
  await rest(page, "legacy");
  const token = await page.evaluate(() => localStorage.getItem("legacy.access_token"));
  assert.match(token, /^ey/);
  w.legacyTokens.push(token);
  await assertCounts(page, { minted: 0, live: 0, revoked: 0 });

  await enter(page, "deploy");
  await until("the deployment is offered a reload", async () => (await focused(page)) === "reload");
  await rest(page, "legacy");
  w.shown.length = 0;
  await reload(page, () => enter(page, "reload"));
  await rest(page, "supertokens");
  assert.deepEqual(w.shown, ["checking", "pending", "supertokens"]);
  const session = await text(page, "session-id");
  const first = await w.sessionCookies();
  assert.deepEqual(first.map((c) => [c.name, c.httpOnly]).sort(), [["sAccessToken", true], ["sRefreshToken", true]]);
  assert.equal(await page.evaluate(() => localStorage.getItem("legacy.access_token")), null);
  await until("the legacy session is revoked", async () => {
    await enter(page, "update");
    await rest(page, "supertokens");
    return (await text(page, "revoked")) === "1";
  });
  await assertCounts(page, { minted: 1, live: 1, revoked: 1 });

  await enter(page, "refresh");
  await until("the session is refreshed", async () => /Refreshed/.test(await text(page, "status")));
  await rest(page, "supertokens");
  assert.equal(await text(page, "session-id"), session);
  const second = await w.sessionCookies();
  for (const { name, value } of second) assert.notEqual(value, first.find((c) => c.name === name).value, name);
  w.legacyTokens.push(...[...first, ...second].map((c) => decodeURIComponent(c.value)));

  await enter(page, "replay");
  await until("the replay is answered", async () => /409 ALREADY_MIGRATED/.test(await text(page, "status")));
  await rest(page, "supertokens");
  await assertCounts(page, { minted: 1, live: 1, revoked: 1 });

  await enter(page, "sign-out");
  await rest(page, "signed-out");
  await assertCounts(page, { minted: 1, live: 0, revoked: 1 });
  await reload(page, () => page.reload());
  await rest(page, "signed-out");
  await assertCounts(page, { minted: 1, live: 0, revoked: 1 });
  assert.deepEqual(await w.sessionCookies(), []);

  await Promise.all(w.reading);
  assert.deepEqual(complaints, []);
}, { modes: ["cookie"], example: true });
