import { migrateSession, type MigrateResult } from "../index.js";

const result: MigrateResult = await migrateSession({
  apiDomain: "https://api.example.com",
  getLegacyToken: () => null,
  endLegacySession() {},
  doesSessionExist: async () => false,
  onSignedOut: (code: "ALREADY_MIGRATED" | "OTHER_SESSION") => code,
});
if (result.status === "migrated") result.legacyEnded satisfies boolean;
if (result.status === "refused") result.code satisfies string;

// @ts-expect-error the legacy token must be got somewhere
await migrateSession({ apiDomain: "https://a.example", endLegacySession() {}, doesSessionExist: () => true, onSignedOut() {} });
// @ts-expect-error there is no such status
if (result.status === "done") result;
