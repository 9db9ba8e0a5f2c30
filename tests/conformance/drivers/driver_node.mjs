// The driver of driver_node.cjs with the package as `import` gives it.
import { pathToFileURL } from 'node:url'
import { packages, run } from './driver_node.cjs'

// import.meta.resolve would look from here; the file that `import` chooses lies beside the one that `require` does.
const entry = pathToFileURL(packages.resolve('qauth'))
await run(await import(new URL('./index.mjs', entry)))
