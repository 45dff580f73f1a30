/** How a suite is run: inside the guest that has KVM, or on this host. */
import { spawn } from "node:child_process"
import { mkdirSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as Outer from "./outer.ts"
import * as Programs from "./programs.ts"
import type { Place, Suite } from "./suites.ts"

/** A place, and what runs a suite there: its output is printed while it runs, and given at the end. */
export interface Runner {
  readonly place: Place
  readonly run: (suite: Suite) => Effect.Effect<{ readonly exitCode: number; readonly output: string }, unknown>
}

/** A suite that takes longer hangs: each takes a few minutes. */
const suiteTimeout = "60 minutes"

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** In the guest, which is booted for it. */
export const guest = Effect.fnUntraced(function* (
  programs: Readonly<Record<string, string>>,
  say: (line: string) => void
) {
  const machine = yield* Outer.start({ programs, output: join("vmtest-output", "nested"), progress: say })
  const { payload, scratch } = Outer.places
  const env = Outer.environment(Programs.variables(`${payload}/bin`))
  const version = yield* machine.succeed("qemu-system-x86_64 --version | head -1; uname -r")
  say(version.trim().replace("\n", ", Linux "))
  const runner: Runner = {
    place: {
      ...{ vmtest: `${payload}/app/node_modules/vmtest`, scripts: `${payload}/app/suite`, output: `${scratch}/out` },
      programs: Object.fromEntries(Object.keys(programs).map((name) => [name, `${payload}/bin/${name}`])),
      slowness: 10
    },
    run: ({ command, env: own }) =>
      Effect.map(
        machine.execute(command, {
          timeout: suiteTimeout,
          env: { ...env, ...own },
          stream: ({ bytes }) => Effect.sync(() => process.stdout.write(bytes))
        }),
        ({ exitCode, stdout }) => ({ exitCode, output: stdout })
      )
  }
  return runner
})

/** On this host, which must have KVM and root. */
export const host = (programs: Readonly<Record<string, string>>): Runner => {
  const output = join(root, "vmtest-output", "nested")
  return {
    place: { vmtest: root, scripts: join(root, "integration-tests", "nested"), output, programs, slowness: 1 },
    run: ({ command, env }) =>
      Effect.callback<{ readonly exitCode: number; readonly output: string }>((resume) => {
        mkdirSync(output, { recursive: true })
        const run = spawn("sh", ["-c", command], {
          env: { ...process.env, ...env },
          stdio: ["ignore", "pipe", "inherit"]
        })
        let text = ""
        run.stdout.on("data", (chunk) => {
          text += chunk
          process.stdout.write(chunk)
        })
        run.on("close", (code) => resume(Effect.succeed({ exitCode: code ?? 1, output: text })))
      })
  }
}
