/**
 * Python scripts under vmtest and under the original driver of nixpkgs: the same calls on the same guest give the same. `VMTEST_NIXOS_TEST_DRIVER` is
 * the folder with the original's sources, `nixos/lib/test-driver` of nixpkgs; without it there is nothing to compare with. The guests are Debian with
 * the backdoor of NixOS tests, from start scripts of the form that nixpkgs makes.
 *
 * Exits with 1 when a step comes out otherwise for no reason that python/differences.ts gives, or as there though a reason is given.
 */
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { isDeepStrictEqual } from "node:util"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { image, scripts } from "../../integration-tests/nixosScript.ts"
import * as DriverLayer from "../../src/driver/DriverLayer.ts"
import * as Failure from "../../src/driver/Failure.ts"
import * as Runner from "../../src/driver/Runner.ts"
import * as Image from "../../src/images/Image.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"
import { python } from "../../src/python/Python.ts"
import { differences } from "./python/differences.ts"

const here = Path.join(import.meta.dirname, "python")
const script = Path.join(here, "trace.py")

/** What came of a step: what it gave, or what it raised, and which class of Python that is. */
interface Step {
  readonly step: string
  readonly gives?: string
  readonly raises?: string
  readonly is?: string
  readonly says?: string
}

const stepsIn = (file: string): ReadonlyArray<Step> =>
  Fs.existsSync(file)
    ? Fs.readFileSync(file, "utf8")
        .split("\n")
        .filter((line) => line !== "")
        .map((line): Step => JSON.parse(line))
    : []

/** The words of these are Python's own, or vmtest's, which says what to use instead. */
const ownWords = ["AttributeError", "TypeError", "NameError"]

const same = (one: Step, other: Step): boolean =>
  ownWords.includes(one.raises ?? "") ? one.raises === other.raises : isDeepStrictEqual(one, other)

const shown = ({ gives, is, raises, says }: Step): string => gives ?? `${raises} (${is}): ${says}`

const guest = image({
  packages: ["iputils-ping", "netcat-openbsd"],
  units: {
    "works.service": { text: "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n", enabled: false },
    "fails.service": { text: "[Service]\nType=oneshot\nExecStart=false\n", enabled: false },
    "sleeps.service": {
      text: "[Service]\nType=oneshot\nExecStart=sleep 1000\nTimeoutStartSec=infinity\n",
      enabled: false
    }
  }
})

const sources = (process.env.VMTEST_NIXOS_TEST_DRIVER ?? "") === "" ? undefined : process.env.VMTEST_NIXOS_TEST_DRIVER
const packageIn = (folder: string): string | undefined =>
  [folder, Path.join(folder, "src")].find((one) => Fs.existsSync(Path.join(one, "test_driver", "driver.py")))

/** Runs the original driver; its log goes to a file. */
const original = (folder: string, configuration: object, log: string) =>
  Effect.callback<number | null>((resume) => {
    const file = Path.join(Path.dirname(log), "configuration.json")
    Fs.writeFileSync(file, JSON.stringify(configuration))
    const output = Fs.openSync(log, "w")
    const child = spawn("python3", [Path.join(here, "original.py"), folder, file], {
      env: { ...process.env, XDG_RUNTIME_DIR: Path.dirname(log) },
      stdio: ["ignore", output, output]
    })
    child.on("close", (code) => resume(Effect.succeed(code)))
    return Effect.sync(() => child.kill())
  })

const compare = (ours: ReadonlyArray<Step>, theirs: ReadonlyArray<Step>): number => {
  let [equal, explained, failures] = [0, 0, 0]
  const fail = (text: string) => {
    failures++
    console.log(`FAIL ${text}`)
  }
  for (const [index, there] of theirs.entries()) {
    const here = ours[index] ?? { step: "nothing" }
    const reason = differences[there.step]
    const told = `${there.step}\n       there: ${shown(there)}\n       here:  ${shown(here)}`
    if (same(there, here)) {
      equal++
      if (reason !== undefined) fail(`${there.step}\n       is as there, but a difference is given: ${reason}`)
    } else if (reason === undefined) fail(told)
    else {
      explained++
      console.log(`differs: ${reason}: ${told}`)
    }
  }
  console.log(`${theirs.length} steps: ${equal} as there, ${explained} with a reason, ${failures} failures`)
  return failures + (theirs.length === 0 ? 1 : 0)
}

const proof = Effect.gen(function* () {
  const folder = sources === undefined ? undefined : packageIn(sources)
  if (folder === undefined) {
    console.log(
      sources === undefined
        ? "skipped: VMTEST_NIXOS_TEST_DRIVER is not set to the folder of the original driver"
        : `skipped: ${sources} has no test_driver/driver.py`
    )
    return 0
  }
  const { folder: place, make, write } = yield* scripts
  const vms = {
    machine: yield* make({ name: "machine", address: "192.168.1.1" }, guest),
    client: yield* make({ name: "client", address: "192.168.1.2" }, guest)
  }
  const environment = {
    VMTEST_TRACE_FILE: write("copied", "content\n", 0o640),
    // The original driver leaves the choice to the script, which takes what does not work here.
    ...(process.env.VMTEST_ACCEL === "kvm" ? {} : { QEMU_OPTS: "-machine accel=tcg" })
  }
  Object.assign(process.env, environment, { VMTEST_TRACE: Path.join(place, "ours.json") })
  const machines = Object.fromEntries(
    Object.entries(vms).map(([name, path]) => [name, { image: Image.startScript(path), vlans: [1] }])
  )
  const test = python("trace", { machines, timeout: "1 hour" }, { file: script })
  const [result] = yield* Runner.run([test], { output: Path.join(place, "output") })
  if (result?.failure !== undefined) console.log(`FAIL ${Failure.render(result.failure)}`)
  process.env.VMTEST_TRACE = Path.join(place, "theirs.json")
  const out = Path.join(place, "out")
  Fs.mkdirSync(out)
  const log = Path.join(place, "original.log")
  const code = yield* original(
    folder,
    {
      vms: Object.fromEntries(Object.entries(vms).map(([name, path]) => [name, { name, start_script: path }])),
      ...{ vlans: [1], global_timeout: 3600, test_script: script, out_dir: out }
    },
    log
  )
  if (code !== 0)
    console.log(`FAIL the original driver ended with ${code}\n${Fs.readFileSync(log, "utf8").slice(-2000)}`)
  const kept = process.env.VMTEST_TRACES
  if (kept !== undefined) {
    for (const name of ["ours.json", "theirs.json"]) Fs.cpSync(Path.join(place, name), Path.join(kept, name))
    Fs.cpSync(log, Path.join(kept, "original.log"))
  }
  const failures = compare(stepsIn(Path.join(place, "ours.json")), stepsIn(Path.join(place, "theirs.json")))
  return failures + (result?.failure === undefined ? 0 : 1) + (code === 0 ? 0 : 1)
})

process.exitCode = await Effect.runPromise(
  proof.pipe(
    Effect.scoped,
    Effect.provide(Layer.mergeAll(DriverLayer.host, ImageStore.layer, NodeServices.layer)),
    Effect.map((failures) => (failures === 0 ? 0 : 1))
  )
)
