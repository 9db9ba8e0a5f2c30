#!/usr/bin/env node
'use strict'

const { cli } = require('../lib/native')

// Nothing here touches process.stdout, which would make the terminal's descriptors non-blocking under the program's feet.
process.exitCode = cli(['qauth', ...process.argv.slice(2)])
