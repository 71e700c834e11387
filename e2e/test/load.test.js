// A tab that was signed in before is signed in after, and at no moment in between does it look otherwise.
import assert from "node:assert/strict";
import { assertSignedIn, EXCHANGE, film, scenario, settled, until } from "../harness.js";

/** Loads the page at a server that takes its time, and does not answer the exchange before a frame shows the page in a state. */
async function load(w, meanwhile, query) {
  await w.signInAtLegacy();
  await w.tell("fault", { on: "api", kind: "slow", ms: 600, routes: ["POST /auth/session/refresh"] });
  await w.tell("hold", { routes: [EXCHANGE] });
  const page = await w.context.newPage();
  const camera = await film(page);
  // Frames come when something is painted, and the last one may be on its way still.
  const filmed = (state) => until(`a frame shows ${state}`, async () => (await camera.develop(-1)).at(0)?.includes(state));
  await page.goto(w.url(query));
  await filmed(meanwhile);
  await w.tell("release");
  const result = await settled(page);
  assert.deepEqual(result, { status: "migrated", legacyEnded: true });
  await assertSignedIn(page);
  await filmed("signed-in");
  const frames = await camera.stop();
  return { frames, filmed: frames.flat(), observed: w.shown };
}

scenario("a tab that was signed in is migrated on load, and no frame shows it signed out", async (w) => {
  const { frames, filmed, observed } = await load(w, "legacy");
  assert.ok(!observed.includes("signed-out"), `the document showed ${observed}`);
  assert.ok(!filmed.includes("signed-out"), `the frames showed ${JSON.stringify(frames)}`);
  // Who saw nothing proves nothing.
  assert.deepEqual(observed, ["undecided", "legacy", "signed-in"]);
  assert.ok(filmed.includes("legacy") && filmed.includes("signed-in"), `the frames showed ${JSON.stringify(frames)}`);

  const state = await w.state();
  assert.equal(state.mints, 1);
  assert.equal(state.live.length, 1);
  assert.equal(state.of(EXCHANGE).length, 1);
  await until("the legacy session is revoked", async () => (await w.state()).revocations === 1);
});

scenario("a page that decides before it migrates is caught, by the frames and by the observer", async (w) => {
  const { frames, filmed, observed } = await load(w, "signed-out", { late: "" });
  assert.ok(observed.includes("signed-out"), `the document showed ${observed}`);
  assert.ok(filmed.includes("signed-out"), `the frames showed ${JSON.stringify(frames)}`);
});
