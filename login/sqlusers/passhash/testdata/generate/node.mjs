// Hashes by Node's crypto.scrypt, bcryptjs, argon2 and firebase-scrypt:
// npm install bcryptjs@3.0.3 @node-rs/argon2@2.2.1 firebase-scrypt@2.2.0 && node node.mjs > ../node.json
import { createRequire } from 'node:module'
import { randomBytes, scryptSync } from 'node:crypto'
const require = createRequire(process.cwd() + '/')
const bcrypt = require('bcryptjs')
const argon2 = require('@node-rs/argon2')
const { FirebaseScrypt } = require('firebase-scrypt')

const passwords = ['correct horse 1', 'пароль-密码-é', 'e\u0301 decomposed', ' spaces around ', 'x'.repeat(71), 'y'.repeat(72),
  'z'.repeat(80), 'w'.repeat(200)]
// The parameters that https://github.com/firebase/scrypt shows in its README, so no project's.
const signerKey = 'jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=='
const firebase = new FirebaseScrypt({ memCost: 14, rounds: 8, saltSeparator: 'Bw==', signerKey })

const makers = {
  'bcryptjs': p => bcrypt.hashSync(p, 4),
  '@node-rs/argon2': p => argon2.hashSync(p, { memoryCost: 256, timeCost: 2, parallelism: 1 }),
  '@node-rs/argon2 i': p => argon2.hashSync(p, { memoryCost: 256, timeCost: 2, parallelism: 2, algorithm: 1 }),
  'firebase-scrypt': async p => {
    const salt = randomBytes(10).toString('base64')
    return `$f_scrypt$${await firebase.hash(p, salt)}$${salt}$m=14$r=8$s=Bw==`
  },
}
const nodeMakers = {
  'salt:key': p => { const s = randomBytes(16).toString('hex'); return s + ':' + scryptSync(p, s, 64).toString('hex') },
  'key.salt': p => { const s = randomBytes(8).toString('hex'); return scryptSync(p, s, 32).toString('hex') + '.' + s },
  'binary salt:key, N 1024, r 16, p 2': p => {
    const s = randomBytes(16)
    return s.toString('hex') + ':' + scryptSync(p, s, 64, { N: 1024, r: 16, p: 2 }).toString('hex')
  },
}
async function make(table) {
  const out = []
  for (const [maker, f] of Object.entries(table)) for (const password of passwords) out.push({ maker, password, hash: await f(password) })
  return out
}
const version = name => require(name + '/package.json').version
console.log(JSON.stringify({
  made_by: `Node ${process.versions.node}, bcryptjs 3.0.3, @node-rs/argon2 ${version('@node-rs/argon2')}, firebase-scrypt ${version('firebase-scrypt')}`,
  hashes: await make(makers), nodeScrypt: await make(nodeMakers),
}, null, 1))
