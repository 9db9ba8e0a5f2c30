// `require` gives the same types.
import qauth = require('qauth')
import { Engine, type Token } from 'qauth'

async function main(): Promise<string> {
  const engine: qauth.Engine = Engine.shared()
  const token: Token = await engine.source('a').token()
  const again: qauth.Token = await qauth.source('a').token({ timeoutMs: 0 })
  return token.accessToken + again.accessToken + qauth.version
}
main().catch((error: unknown) => error instanceof qauth.QauthError && error.code)
