// A child process, of whatever kind, that takes a token of the profile VENDOR in CONFIG and says which.
import { createRequire } from 'node:module'
import { join } from 'node:path'

const qauth = createRequire(join(process.env.APP, 'package.json'))('qauth')
const source = new qauth.Engine(JSON.parse(process.env.CONFIG)).source(process.env.VENDOR)
const { accessToken } = await source.token()

if (!process.send) {
  console.log(accessToken)
} else {
  process.on('message', async (message) => {
    if (message === 'rejected') source.invalidate(await source.token())
    if (message === 'end') process.disconnect()
    else process.send((await source.token()).accessToken)
  })
  process.send(accessToken)
}
