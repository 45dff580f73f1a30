/** The TypeScript of the documentation, as tsc sees it. */
import { type Block, blocks, root } from "./pages.ts"
import { type Complaint, tsc } from "./tsc.ts"

/** What the text around a block of a few lines has introduced: `web`, `driver`, … */
const introduced = `import { assert } from "@effect/vitest"
import { Cause, Duration, Effect, Layer, Schedule, Schema, Stream } from "effect"
import { Supervisor, Report } from "vmtest/actors"
import { DriverLayer, Failure, Image, Mock, Runner, RunEvent, TerminalReport, asValue, test } from "vmtest"
import type { DriverService, Machine, MachineOptions, TestCase } from "vmtest"
import type { ShellService } from "${root}src/transport/Shell.ts"

declare const machine: Machine, box: Machine, web: Machine, db: Machine, client: Machine, server: Machine
declare const driver: DriverService<"web" | "db" | "client">, shell: ShellService
declare const tests: ReadonlyArray<TestCase>
declare const changed: Effect.Effect<boolean>
declare const children: ReadonlyArray<Supervisor.ChildSpec>
`

/** A block with an import or an export is a module. Another is a part of a test's body. */
const isModule = ({ code }: Block) => /^(import|export) /m.test(code)

const moduleOf = (block: Block): string =>
  isModule(block) ? block.code : `${introduced}\nexport const block = Effect.gen(function* () {\n${block.code}})\n`

export const typescript = blocks.filter(({ language }) => language === "ts")

const fileOf = ({ line, page }: Block) => `${page.replaceAll("/", "-").replace(".md", "")}-${line}.ts`

/** What tsc says of all blocks. */
export const complaints = (): ReadonlyArray<Complaint> =>
  tsc(
    typescript.map((block) => ({
      ...{ name: fileOf(block), shown: block.page, line: block.line },
      ...{ text: moduleOf(block), before: isModule(block) ? 0 : introduced.split("\n").length + 1 }
    }))
  )
