// A tab that was signed in before is signed in after, and at no moment in between does it look otherwise.
import assert from "node:assert/strict";
import { assertSignedIn, EXCHANGE, film, scenario, settled, until } from "../harness.js";

const SLOW = { on: "api", kind: "slow", ms: 600, routes: [EXCHANGE, "POST /auth/session/refresh"] };

async function load(w, query) {
  await w.signInAtLegacy();
  await w.tell("fault", SLOW);
  const page = await w.context.newPage();
  const camera = await film(page);
  await page.goto(w.url(query));
  const result = await settled(page);
  assert.deepEqual(result, { status: "migrated", legacyEnded: true });
  await assertSignedIn(page);
  let seen = 0;
  await until("a frame shows the signed-in page", async () => {
    // Frames come when something is painted; the last one may be on its way still.
    if (camera.frames.length === seen) return false;
    seen = camera.frames.length;
    return (await camera.develop(seen - 1)).at(-1)?.includes("signed-in");
  });
  const frames = await camera.stop();
  return { frames, filmed: frames.flat(), observed: w.shown };
}

scenario("a tab that was signed in is migrated on load, and no frame shows it signed out", async (w) => {
  const { frames, filmed, observed } = await load(w);
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
  const { frames, filmed, observed } = await load(w, { late: "" });
  assert.ok(observed.includes("signed-out"), `the document showed ${observed}`);
  assert.ok(filmed.includes("signed-out"), `the frames showed ${JSON.stringify(frames)}`);
});
