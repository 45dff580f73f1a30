import { type ChildProcess, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer, type Server, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "vitest"

const program = fileURLToPath(new URL("../../src/nixos/VsockProxy.ts", import.meta.url))

let folder = ""
let server: Server | undefined
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vmtest-proxy-"))
})
afterEach(() => {
  server?.close()
  server = undefined
  rmSync(folder, { recursive: true, force: true })
})

/** The host's end of a vsock device, which does this with each connection. */
const device = (serve: (connection: Socket) => void): Promise<string> =>
  new Promise((resolve) => {
    const path = join(folder, "it's 100%.host")
    server = createServer({ allowHalfOpen: true }, serve).listen(path, () => resolve(path))
  })

/** Answers the first line, and what comes after it as the guest does. */
const answering = (answer: string, guest: (connection: Socket) => void) => (connection: Socket) => {
  connection.once("data", (chunk) => {
    assert.strictEqual(chunk.toString(), "CONNECT 22\n")
    connection.write(answer)
    guest(connection)
  })
}

const collect = async (child: ChildProcess) => {
  const out: Array<Buffer> = []
  let err = ""
  child.stdout?.on("data", (chunk: Buffer) => out.push(chunk))
  child.stderr?.on("data", (chunk: Buffer) => {
    err += chunk.toString()
  })
  const status = await new Promise((resolve) => child.once("close", resolve))
  return { out: Buffer.concat(out), err, status }
}

const start = (...args: ReadonlyArray<string>) => spawn(process.execPath, [program, ...args], { stdio: "pipe" })

describe("the way of ssh to a vsock port", () => {
  it("carries all that both sides say, also what comes together with the answer", async () => {
    const said = randomBytes(3_000_000)
    const heard: Array<Buffer> = []
    const path = await device(
      answering("OK 1073741824\nSSH-2.0-", (connection) => {
        connection.on("data", (chunk: Buffer) => heard.push(chunk))
        // As sshd, which answers the end of what it reads with its own.
        connection.on("end", () => connection.end(said))
      })
    )
    const child = start(path, "22")
    child.stdin.end(said)
    const { err, out, status } = await collect(child)
    assert.deepStrictEqual([err, status], ["", 0])
    assert.isTrue(out.equals(Buffer.concat([Buffer.from("SSH-2.0-"), said])))
    assert.isTrue(Buffer.concat(heard).equals(said))
  })

  it("ends when the guest does, while ssh still has its input open", async () => {
    const path = await device(answering("OK 1\n", (connection) => connection.end("bye\n")))
    const { err, out, status } = await collect(start(path, "22"))
    assert.deepStrictEqual([out.toString(), err, status], ["bye\n", "", 0])
  })

  it("ends when ssh no longer reads", async () => {
    const path = await device(
      answering("OK 1\n", (connection) => {
        const more = (error?: Error | null) => {
          if (error === undefined || error === null) connection.write(randomBytes(65_536), more)
        }
        connection.on("error", () => undefined)
        more()
      })
    )
    const child = start(path, "22")
    child.stdout.once("data", () => child.stdout.destroy())
    const status = await new Promise((resolve) => child.once("exit", resolve))
    assert.strictEqual(status, 0)
  })

  it("fails in other words when the connection breaks later", async () => {
    const path = await device(
      answering("OK 1\n", (connection) =>
        // Linux resets a connection that ends with unread bytes.
        connection.once("data", () => connection.pause() && setTimeout(() => connection.destroy(), 100))
      )
    )
    const child = start(path, "22")
    child.stdin.on("error", () => undefined)
    child.stdin.end(randomBytes(3_000_000))
    const { err, status } = await collect(child)
    assert.match(err, /^lost the connection to port 22 of the guest over .*host: (read ECONNRESET|write EPIPE)\n$/)
    assert.strictEqual(status, 1)
  })

  it("fails with the port and the socket where nobody listens", async () => {
    const refusing = await device((connection) => connection.once("data", () => connection.end()))
    const refused = await collect(start(refusing, "22"))
    assert.deepStrictEqual(
      [refused.err, refused.status],
      [`could not reach port 22 of the guest over ${refusing}: the guest does not listen there\n`, 1]
    )
    const missing = await collect(start(join(folder, "none"), "22"))
    assert.match(missing.err, /^could not reach port 22 of the guest over .*none: connect ENOENT/)
    assert.strictEqual(missing.status, 1)
  })
})
