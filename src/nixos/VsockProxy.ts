/**
 * The way of `ssh` to a port of a guest, over the socket of its vsock device: a program that ssh starts as its `ProxyCommand`. It asks the device for
 * the port, and then passes on what both sides send.
 *
 * systemd-ssh-proxy(1) does the same, for `ssh vsock-mux/SOCKET`, but many hosts have none. Source of the words: the documentation of Firecracker's
 * vsock device, which `vhost-device-vsock` follows.
 *
 * **Example** (A line of `ssh_config`)
 *
 * ```sh
 * ProxyCommand node VsockProxy.js /run/user/1000/web.host %p
 * ```
 *
 * @since 0.1.0
 */
import * as Net from "node:net"

const [socket = "", port = "22"] = process.argv.slice(2)

const end = (what: string, reason: string): void => {
  process.stderr.write(`${what} port ${port} of the guest over ${socket}: ${reason}\n`)
  process.exit(1)
}
const fail = (reason: string) => end("could not reach", reason)

const connection = Net.connect(socket)
const unreached = ({ message }: Error) => fail(message)
connection.once("error", unreached)

const refused = () => fail("the guest does not listen there")
connection.once("end", refused)

/** What has arrived of the device's answer, one line: `OK 1073741824`. */
let answer = Buffer.alloc(0)

const listen = (chunk: Buffer): void => {
  answer = Buffer.concat([answer, chunk])
  const newline = answer.indexOf("\n")
  if (newline < 0) return
  if (!/^OK\b/.test(answer.toString("latin1"))) {
    refused()
    return
  }
  connection.off("data", listen).off("end", refused).off("error", unreached)
  connection.once("error", ({ message }) => end("lost the connection to", message))
  process.stdout.write(answer.subarray(newline + 1))
  connection.pipe(process.stdout)
  process.stdin.pipe(connection)
}
connection.on("data", listen)
connection.write(`CONNECT ${port}\n`)

// Once ssh has ended, nothing reads what still arrives.
process.stdout.once("error", () => process.exit(0))
connection.once("close", () => process.stdin.destroy())
