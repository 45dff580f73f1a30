import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { blocks } from "../test/docs/pages.ts"
import { needs } from "../test/needs.ts"
import * as NixHost from "./nixHost.ts"

const hasNix = NixHost.isInstalled()

/** The flake of a project with these checks. */
const flakeOf = (checks: Readonly<Record<string, string>>) => `{
  inputs.vmtest.url = "flake:vmtest";
  inputs.nixpkgs.follows = "vmtest/nixpkgs";
  outputs = { nixpkgs, vmtest, ... }: {
    checks.x86_64-linux = {
${Object.entries(checks)
  .map(([name, check]) => `${name} =\n${check};\n`)
  .join("")}
    };
  };
}
`

/** A project with a test in Python, which imports a package. */
const projectFlake = flakeOf({
  python: `vmtest.lib.runTest nixpkgs.legacyPackages.x86_64-linux {
    name = "python";
    nodes.machine = { };
    testScript = builtins.readFile ./tests/hello.py;
    extraPythonPackages = packages: [ packages.greeting ];
    extraDriverArgs = [ "--junit-xml=junit.xml" ];
  }`
})

const python = `import greeting

machine.log(greeting.hello)
machine.succeed("echo written there >/tmp/from-the-guest")
machine.copy_from_machine("/tmp/from-the-guest")
`

/** What is in a folder. */
const digestOf = (folder: string) =>
  Object.fromEntries(
    Fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((file) => Fs.statSync(Path.join(folder, file)).isFile())
      .map((file) => [
        file,
        createHash("sha256")
          .update(Fs.readFileSync(Path.join(folder, file)))
          .digest("hex")
      ])
  )

describe("the flake", () => {
  needs(hasNix, "needs nix: apt-get install nix-bin")

  let nix: NixHost.Nix
  const stubs = { current: "", old: "" }

  beforeAll(async () => {
    if (!hasNix) return
    nix = NixHost.make()
    const host = await NixHost.prepare(nix)
    const real = process.env.VMTEST_NIXPKGS_LIB
    stubs.current = nix.stub("current", host, real)
    stubs.old = nix.stub("old", { ...host, hasDriver: false }, real)
  })

  afterAll(() => nix?.remove())

  for (const name of ["current", "old"] as const) {
    describe(`with ${name === "old" ? "a nixpkgs of before 2026" : "today's nixpkgs"}`, () => {
      it("passes nix flake check, and so does a project from its template", async () => {
        for (const flake of ["flake", nix.project(`template-${name}`, {})]) {
          const said = await nix.run("flake", "check", "--no-build", ...nix.flake(stubs[name], flake))
          assert.strictEqual(said.exitCode, 0, said.stderr)
        }
      })

      it("swaps the driver in a test that is made as nixpkgs makes it, and leaves all else to the original", async () => {
        const { log, out } = await nix.build(stubs[name], "checks.x86_64-linux.python.driver")
        assert.notStrictEqual(out, "", log)
        const bin = Path.dirname(Fs.realpathSync(`${out}/bin/.nixos-test-driver-wrapped`))
        assert.match(bin, /-nixos-test-driver-vmtest-[\d.]+\/bin$/)
        assert.match(
          Fs.realpathSync(`${bin}/generate-driver-symbols`),
          /-nixos-test-driver\/bin\/generate-driver-symbols$/
        )
        assert.include(Fs.readFileSync(`${out}/test-script`, "utf8"), "start_all()")
      })

      it("has the prompt of vmtest in a test's driverInteractive", async () => {
        const { log, out } = await nix.build(stubs[name], "checks.x86_64-linux.python.driverInteractive")
        assert.notStrictEqual(out, "", log)
        const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-nix-prompt-"))
        const said = spawnSync(`${out}/bin/nixos-test-driver`, {
          cwd: folder,
          input: "print('at the prompt of', machine.name)\n",
          env: { PATH: process.env.PATH, XDG_RUNTIME_DIR: folder },
          encoding: "utf8"
        })
        Fs.rmSync(folder, { recursive: true, force: true })
        assert.strictEqual(said.status, 0, said.stderr)
        assert.include(`${said.stdout}${said.stderr}`, "at the prompt of machine")
      })
    })
  }

  it("evaluates the tests of the documentation", async () => {
    const inFile = blocks.filter(({ page }) => page === "docs/nixos.md")
    const tests = inFile.filter(({ language }) => language === "nix").map(({ code }) => code)
    const script = inFile.find(({ code }) => code.startsWith("// web.ts\n"))?.code ?? ""
    assert.isAbove(tests.length, 1)
    const project = nix.project("documented", {
      "web.ts": script,
      "flake.nix": flakeOf(Object.fromEntries(tests.map((test, index) => [`number-${index}`, test])))
    })
    const said = await nix.run("flake", "check", "--no-build", ...nix.flake(stubs.current, project))
    assert.strictEqual(said.exitCode, 0, said.stderr)
  })

  it("has the packages that the command needs, and none for development or another platform", async () => {
    const places = nix.flake(stubs.current, "flake", "packages.x86_64-linux.default.runtimeModules.places")
    const said = await nix.run("eval", "--json", ...places)
    const names = (JSON.parse(said.stdout) as Array<string>).map((place) => place.replace(/^node_modules\//, ""))
    const own = [
      "effect",
      "@effect/platform-node",
      "@effect/platform-node-shared",
      "esbuild",
      "@esbuild/linux-x64",
      "pngjs"
    ]
    assert.includeMembers(names, own)
    const others = names.filter((name) =>
      /biome|node-linux|typescript|vitest|esbuild\/(?!linux-x64)|nact|xstate/.test(name)
    )
    assert.deepStrictEqual(others, [])
  })

  it("builds the command", async () => {
    const { log, out } = await nix.build(stubs.current, "packages.x86_64-linux.default")
    assert.notStrictEqual(out, "", log)
    const said = spawnSync(`${out}/bin/vmtest`, ["--version"], { encoding: "utf8", env: {} })
    assert.match(said.stdout, /^vmtest v\d+\.\d+\.\d+\n$/, said.stderr)
    // As here: compiled by the same programs from the same files.
    assert.deepStrictEqual(digestOf(`${out}/lib/node_modules/vmtest/dist`), digestOf("dist"))
  })

  it("runs a test in Python on a guest inside the build, with packages of its own and a report", async () => {
    const project = nix.project("python", { "flake.nix": projectFlake, "tests/hello.py": python })
    const { log, out } = await nix.build(stubs.current, "checks.x86_64-linux.python", project)
    assert.notStrictEqual(out, "", log)
    assert.include(log, "1 passed, 0 failed")
    assert.include(log, "hello from a package")
    assert.include(Fs.readFileSync(`${out}/junit.xml`, "utf8"), "<testsuite")
    assert.strictEqual(Fs.readFileSync(`${out}/from-the-guest`, "utf8"), "written there\n")
  })

  it("runs a test in TypeScript on a guest inside the build, with a nixpkgs of before 2026", async () => {
    const { log, out } = await nix.build(stubs.old, "checks.x86_64-linux.typescript")
    assert.notStrictEqual(out, "", log)
    assert.include(log, "1 passed, 0 failed")
  })

  it("fails the build when the test fails, with the script's line", async () => {
    const script = "import greeting\n\nassert greeting.hello == 'goodbye', 'it says hello'\n"
    const project = nix.project("failing", { "flake.nix": projectFlake, "tests/hello.py": script })
    const { log, out } = await nix.build(stubs.current, "checks.x86_64-linux.python", project)
    assert.strictEqual(out, "")
    assert.match(log, /it says hello/)
    assert.match(log, /test-script:3/)
    assert.include(log, "0 passed, 1 failed")
  })
})
