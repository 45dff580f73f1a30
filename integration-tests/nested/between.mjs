#!/usr/bin/env node
// Stands between vmtest and a real hypervisor: passes every request on, and does to one of them what the test wants.
//
// VMTEST_NESTED_PROGRAM   the hypervisor
// VMTEST_NESTED_KILL      the request at whose arrival the hypervisor is killed, such as `PUT /vsock` or `PATCH /vm Resumed`
// VMTEST_NESTED_CHANGE    { request, from, to }: replaces a part of a request's body, which is a regular expression
import { spawn } from "node:child_process"
import { appendFileSync, fstatSync, rmSync } from "node:fs"
import { createServer, request } from "node:http"

const { VMTEST_NESTED_CHANGE: changed, VMTEST_NESTED_KILL: killedAt, VMTEST_NESTED_PROGRAM: program } = process.env
const change = changed === undefined || changed === "" ? undefined : JSON.parse(changed)
const [outside, inside] = ["api.sock", "inside.sock"]
const args = process.argv.slice(2).map((word) => word.replace(outside, inside))

const isOpen = (descriptor) => {
  try {
    return fstatSync(descriptor) !== undefined
  } catch {
    return false
  }
}
// The fourth descriptor is where Cloud Hypervisor tells of itself.
const stdio = ["inherit", "inherit", "inherit", ...(args.includes("fd=4") && isOpen(4) ? ["ignore", 4] : [])]
rmSync(inside, { force: true })
const child = spawn(program, args, { stdio })

const end = (signal) => process.kill(process.pid, signal)
child.on("exit", (code, signal) => (signal === null ? process.exit(code) : end(signal)))

const passOn = (method, path, body, response, attempts = 200) => {
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) }
  const onward = request({ socketPath: inside, method, path, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers)
    answer.pipe(response)
  })
  // It does not listen yet.
  onward.on("error", () =>
    attempts > 0 ? setTimeout(() => passOn(method, path, body, response, attempts - 1), 50) : response.destroy()
  )
  onward.end(body)
}

const server = createServer((incoming, response) => {
  let body = ""
  incoming.on("data", (chunk) => {
    body += chunk
  })
  incoming.on("end", () => {
    const { method, url } = incoming
    const name = `${method} ${url}`
    appendFileSync("requests.jsonl", `${JSON.stringify({ name, body })}\n`)
    const state = /"state":"(\w+)"/.exec(body)?.[1]
    if (killedAt === name || killedAt === `${name} ${state}`) {
      child.kill("SIGKILL")
      return
    }
    const sent = change?.request === name ? body.replace(new RegExp(change.from), change.to) : body
    passOn(method, url, sent, response)
  })
})
if (!args.includes("--version")) server.listen(outside)
