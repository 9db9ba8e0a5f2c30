// source.fetch against an API that wants DPoP: `node fetch.mjs NODE_APP PATH`, the configuration on stdin.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const [, , app, path] = process.argv
const qauth = createRequire(`${app}/`)('qauth')
const source = new qauth.Engine(JSON.parse(readFileSync(0, 'utf8'))).source('p')
const { accessToken } = await source.token()
const answers = []
for (let i = 0; i < 3; i += 1) {
  const answer = await source.fetch(path)
  const { bound, client_id: client } = await answer.json()
  answers.push({ status: answer.status, bound, client })
}
console.log(JSON.stringify({ accessToken, answers }))
