// Package redisstore is the shared exchange store of [stmigrate] on Redis: [Store] implements [stmigrate.ExchangeStore] and
// everything that one may be, too.
//
//	client := redis.NewClient(&redis.Options{Addr: "redis.internal:6379", ContextTimeoutEnabled: true})
//	exchanges, err := redisstore.New(ctx, redisstore.Config{Client: client})
//
// # The server
//
// Redis 6.2 or later; the tests pass with 6.2.14, 7.0.15 and a snapshot on the way to 8. Valkey says that it is Redis 7.2 and
// has the same commands; it was not tested. One server, one with replicas behind Sentinel, or a cluster. [New] refuses to start
// when one of these does not hold:
//
//   - maxmemory-policy is noeviction, on every master. With any other a full server throws away what must not be forgotten.
//     With this one it refuses, which is [stmigrate.ErrUnavailable]: nobody is exchanged until there is room. See
//     [Config.SkipEvictionCheck].
//   - appendonly is yes, see [Config.InsecureWithoutAOF]. With appendfsync everysec, the default, a crash of the machine
//     loses the last second or two; always loses nothing that was acknowledged, and costs a disk's write for each exchange.
//   - The key {prefix}:format does not say that another version of this package uses the prefix in another way.
//
// Each script looks at that key again. Once it is gone (FLUSHALL, a restart with an empty disk) every call fails with
// ErrUnavailable, since what was exchanged is gone with it. A process that starts anew takes such a server for a new one: look
// into the logs before you restart.
//
// The server's clock is the only one that counts. Keep the clocks of a master and of those who may succeed it together within a
// few seconds: a lease that ends early lets somebody else take over, and the fence undoes what the first holder did.
//
// # Rights
//
// A user of its own needs no more than this (the prefix being "stmigrate"):
//
//	ACL SETUSER stmigrate on >secret ~{stmigrate}:* +eval +evalsha +info +wait +get +set +del +type +time +hget +hgetall +hset +hdel +pttl +pexpireat +zadd +zrem +zrandmember +zrangebyscore +zrangebylex +sadd +sismember
//
// On a cluster also +cluster|slots and +command. Where INFO does not tell the policy, also +config|get.
//
// # What is stored
//
// No token and nothing that a token could be made of: keys are hashes and MACs, answers, revocations and notes are sealed by
// the Migrator. User IDs, session handles, names of epochs and issuers stand in clear.
//
//	{prefix}:format       the version of all this
//	{prefix}:e:<key>      an exchange: a hash, its fields are listed in lua/prelude.lua
//	{prefix}:a:<key>      its sealed answer, until SealedFor is over
//	{prefix}:r:<key>      the revocation it owes, until that is settled
//	{prefix}:n:<key>      the note of a claim
//	{prefix}:s:<shown>    the way from a token's MAC to its exchange
//	{prefix}:held         claims by the end of their lease
//	{prefix}:due          revocations by when they are due, and {prefix}:dead those given up
//	{prefix}:x:<epoch>    the finished exchanges of an epoch
//	{prefix}:closed       epochs that are closed
//	{prefix}:b:<name>     a budget
//
// The server erases each of them when its time is over, but for format and closed: nothing waits for another request. What is
// over leaves its place in an index; each write clears up to two such places, and an index goes with the last exchange in it,
// so an index is never much longer than twice what it is of. Bytes that are erased stay in the append-only file until the
// server rewrites it.
//
// Measured with Redis 7.0, an exchange takes about 700 bytes of memory, 2.8 KB more during Config.Grace (with an answer of 2.3
// KB) and 1.8 KB more while a revocation is owed (with one of 1.5 KB). A million exchanges past Grace: 0.7 GB.
//
// # Round trips
//
// Each method is one script and one round trip; the first use of a script on a server takes two. Claim and Finish together keep
// the server busy for about 0.13 ms. What answers ClaimBusy or ClaimDone writes nothing, and takes 0.02 ms. The client may
// repeat a command by itself (MaxRetries): all methods may be repeated, but a repeated DueRevocations leases others and what
// was leased first comes again after that lease, and a repeated TakeBudget takes once more.
//
// # Cluster
//
// All keys of a prefix are in one slot, so on one master: Recall knows nothing but the token's MAC and must find the exchange
// by it, and an exchange changes in one step with the indexes that it is in. Scripts name all keys that are known beforehand;
// those that they find in an index are of the same slot. A proxy or server that wants every key to be named will not do. While
// the slot moves to another node, calls fail with ErrUnavailable: move it when few users come.
//
// # Fail-over
//
// Redis replicates asynchronously. What a master acknowledged and had not sent when it died is lost with it:
//
//   - A claim. Somebody else may take it; the first holder's Finish is then ErrClaimLost, and its session is undone. If that
//     holder dies, too, its orphan is not looked for.
//   - A finish. The client has its session, and the store says that the exchange is still held, or never was. The same legacy
//     session, if it still verifies, can be exchanged once more: by the user, or by a thief of the legacy token. If the claim
//     is there, the next holder finds the first session by its marker and revokes it, else both live. The revocation owed is
//     lost.
//   - A settled revocation: it is tried again. A closed epoch is open again: close it after a fail-over. A note:
//     RevokeRequired has its gap again, for that one session.
//
// The window is the replication's lag, most often below a millisecond, for the exchanges under way in the moment of a crash.
// [Config.WaitReplicas] closes it for Finish and Note as far as Redis can: they are nil only once that many replicas have it,
// and exchanges stop when there are fewer. A fail-over to a replica that is not among them can still lose: only with all
// replicas is the successor always among them. On the server, min-replicas-to-write stops a master that was cut off from going
// on alone. Managed services without append-only file rely on replicas in the same way: set WaitReplicas together with
// [Config.InsecureWithoutAOF] there.
package redisstore
