/** What the played hypervisors have in common. They are programs of their own, without libraries: they have to start in a moment. */
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Net from "node:net"

/** What a played hypervisor does otherwise than the real one would. Requests are named as `PUT /vsock`. */
export interface Play {
  /** Answers a request with this status and body. */
  readonly refuse?: Readonly<Record<string, { readonly status: number; readonly body: unknown }>>
  /** Never answers a request. */
  readonly hang?: ReadonlyArray<string>
  /** Is killed when a request comes, before it answers. */
  readonly die?: ReadonlyArray<string>
  /** Ends at once with this exit code and message. */
  readonly end?: { readonly exitCode: number; readonly message: string }
  /** Milliseconds until it listens. */
  readonly late?: number
  /** Says this on the console when its guest starts. */
  readonly print?: string
  /** Who plays the guest behind vsock. Default: the hypervisor itself, with a shell that only says its ready line. */
  readonly guest?: "itself" | "the test"
}

export const play: Play = JSON.parse(process.env.VMTEST_PLAY ?? "{}")

export interface Answer {
  readonly status: number
  readonly body?: unknown
  /** Ends with this exit code once it has answered. */
  readonly end?: number
}

/** Serves its interface until it ends. Every request is kept in `requests.jsonl`, for the test to check. */
export const serve = <Body>(socket: string, route: (request: string, body: Body) => Answer): void => {
  const server = Http.createServer((incoming, response) => {
    let text = ""
    incoming.on("data", (chunk) => {
      text += chunk
    })
    incoming.on("end", () => {
      const { method, url: path } = incoming
      const body = text === "" ? undefined : JSON.parse(text)
      const request = `${method} ${path}`
      Fs.appendFileSync("requests.jsonl", `${JSON.stringify({ method, path, body })}\n`)
      if (play.die?.includes(request)) process.kill(process.pid, "SIGKILL")
      if (play.hang?.includes(request)) return
      const { body: said, end, status }: Answer = play.refuse?.[request] ?? route(request, body)
      response.writeHead(status, { "content-type": "application/json" })
      response.end(said === undefined ? undefined : JSON.stringify(said), () => {
        if (end !== undefined) process.exit(end)
      })
    })
  })
  if (play.end !== undefined) {
    process.stderr.write(`${play.end.message}\n`)
    process.exit(play.end.exitCode)
  }
  setTimeout(() => server.listen(socket), play.late ?? 0)
}

/** Whether the guest answers over vsock. */
export const guest = { hears: true }

const connections = new Set<Net.Socket>()

/** Offers vsock at this path; throws when something is there, as the real ones refuse that. */
export const offerVsock = (path: string): void => {
  if (Fs.existsSync(path)) throw new Error("Address already in use (os error 98)")
  if (play.guest === "the test") return
  Net.createServer((socket) => {
    connections.add(socket)
    socket.on("error", () => {})
    socket.on("close", () => connections.delete(socket))
    socket.once("data", () => {
      if (guest.hears) socket.write("OK 1073741824\nvmtest: shell ready\n")
    })
  }).listen(path)
}

/** Reads lines. */
export const lines = (readable: NodeJS.ReadableStream, each: (line: string) => void): void => {
  let rest = ""
  readable.on("data", (chunk) => {
    const parts = (rest + chunk.toString("utf8")).split(/\r?\n/)
    rest = parts.pop() ?? ""
    for (const part of parts) each(part)
  })
}

/** What the operating system says of a file that cannot be opened; undefined for one that can. */
export const missing = (path: string | undefined): string | undefined =>
  path === undefined || Fs.existsSync(path) ? undefined : "No such file or directory (os error 2)"

/** An argument's value. */
export const argument = (name: string): string => process.argv[process.argv.indexOf(name) + 1] ?? ""
