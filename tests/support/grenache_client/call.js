// Calls peers over Grenache as any Node program would, and prints the answers as JSON lines.
// Arguments: a Grape's URL, the service, then calls as JSON: {"how": "request" | "map", "payload",
// "compress"}.
'use strict'

const { PeerRPCClient } = require('grenache-nodejs-http')
const Link = require('grenache-nodejs-link')

const [grape, service, ...calls] = process.argv.slice(2)
const link = new Link({ grape })
link.start()
const client = new PeerRPCClient(link, {})
client.init()

function call ({ how, payload, compress }) {
  return new Promise((resolve) => {
    client[how](service, payload, { timeout: 10000, compress }, (error, result) => {
      resolve({ error: error ? error.message : null, result: result === undefined ? null : result })
    })
  })
}

async function main () {
  for (const text of calls) console.log(JSON.stringify(await call(JSON.parse(text))))
  client.stop()
  link.stop()
  process.exit(0)
}

main()
