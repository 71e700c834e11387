// Cookies and stored sessions of the real express-session, printed as JSON. See ../README.md.
import express from 'express'
import session from 'express-session'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const version = (name) => require(`${name}/package.json`).version
const secret = 'fixture secret of express, current'
const old = 'fixture secret of express, previous'

// login answers what a browser and the store have after one request to an application with these options.
async function login(options, write) {
  const app = express()
  const store = new session.MemoryStore()
  app.use(session({ store, resave: false, saveUninitialized: false, ...options }))
  app.get('/', (req, res) => { write(req.session); res.end() })
  const server = app.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const answer = await fetch(`http://127.0.0.1:${server.address().port}/`)
  server.close()
  const cookie = answer.headers.get('set-cookie').split(';')[0]
  const eq = cookie.indexOf('=')
  const [id] = Object.keys(store.sessions)
  return { name: cookie.slice(0, eq), value: cookie.slice(eq + 1), id, data: store.sessions[id] }
}

const passport = (s) => { s.passport = { user: 'user-1' } }
const day = 24 * 60 * 60 * 1000
const out = {
  versions: { node: process.version, express: version('express'), 'express-session': version('express-session') },
  made: new Date().toISOString(),
  secrets: [secret, old],
  cookies: {
    passport: await login({ secret, cookie: { maxAge: day } }, passport),
    'a browser session': await login({ secret }, passport),
    'a number': await login({ secret, cookie: { maxAge: day } }, (s) => { s.userId = 42; s.loggedInAt = 1760000000000 }),
    'the previous secret': await login({ secret: old, cookie: { maxAge: day } }, passport),
    'an ID of the application': await login({ secret, cookie: { maxAge: day }, genid: () => '8e0f6b0e.93b9-4f0b:b8f0/c3a1+x=' }, passport),
    'another secret': await login({ secret: 'fixture secret of another app', cookie: { maxAge: day } }, passport),
    'a guest': await login({ secret, cookie: { maxAge: day } }, (s) => { s.cart = ['book'] }),
    'over in a second': await login({ secret, cookie: { maxAge: 1000 } }, passport),
  },
}
console.log(JSON.stringify(out, null, 1))
