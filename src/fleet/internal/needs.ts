/** What tests need of the host that runs them, as their machines are declared. */
import * as Effect from "effect/Effect"
import type { BackendName } from "../../backends/BackendName.ts"
import { nameOf } from "../../backends/HypervisorOptions.ts"
import * as Runner from "../../driver/Runner.ts"
import type { TestCase } from "../../driver/TestCase.ts"
import * as Image from "../../images/Image.ts"
import * as MachineSpecs from "../../machine/MachineSpec.ts"
import type { RunOptions } from "../Fleet.ts"
import * as Jobs from "../Job.ts"

type Specs = ReadonlyArray<MachineSpecs.MachineSpec>

/** The hypervisors of machines besides QEMU; machines that start themselves bring their own. */
const hypervisorsOf = (specs: Specs, byDefault: BackendName): ReadonlyArray<string> =>
  specs.flatMap(({ backend, image }) => {
    const name = nameOf(backend) ?? byDefault
    return Image.startsItself(image) || name === "qemu" ? [] : [name]
  })

/** Programs that options of hypervisors need. */
const programsOf = (specs: Specs): ReadonlyArray<string> =>
  specs.flatMap(({ backend }) => {
    if (typeof backend !== "object") return []
    const jailer = backend.jailer === undefined || backend.jailer === false ? [] : ["jailer"]
    return Object.keys(backend.shares ?? {}).length === 0 ? jailer : [...jailer, "virtiofsd"]
  })

/** The machines of tests, checked as a run checks them. Whether the host has so much memory is for the workers to say. */
export const check = (tests: ReadonlyArray<TestCase>) =>
  Effect.provideService(Runner.check(tests), MachineSpecs.HostLimits, {
    memory: Number.MAX_SAFE_INTEGER,
    cpus: 1024
  })

/** What tests with these machines need: of memory what the largest of them does, since they run one after the other. */
export const of = (
  tests: ReadonlyArray<TestCase>,
  all: ReadonlyArray<Specs>,
  { accel, backend = "qemu" }: Pick<RunOptions, "accel" | "backend">
): Jobs.Needs => {
  const specs = all.flat()
  const hypervisors = hypervisorsOf(specs, backend)
  const programs = tests.flatMap(({ programs = [] }) => programs)
  const tools = [...programs, ...hypervisors, ...programsOf(specs), ...MachineSpecs.toolsOf(specs)]
  return {
    architecture: "x86_64",
    // The other hypervisors do not emulate.
    kvm: specs.length > 0 && (accel === "kvm" || hypervisors.length > 0),
    tools: Jobs.optionalTools.filter((tool) => tools.includes(tool)),
    memory: Math.max(0, ...all.map((some) => some.reduce((sum, one) => sum + one.memory, 0)))
  }
}
