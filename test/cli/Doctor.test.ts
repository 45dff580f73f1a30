import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { HypervisorMissing } from "../../src/backends/Backends.ts"
import * as Doctor from "../../src/cli/Doctor.ts"
import { FabricUnavailable } from "../../src/network/Vlan.ts"

describe("what vmtest doctor advises", () => {
  it("is to install what is missing, and apart from that what only some need", () => {
    const findings: ReadonlyArray<Doctor.Finding> = [
      { what: "node", state: "ok", detail: "v24" },
      { what: "vde_switch", state: "missing", detail: "not found", package: "vde2" },
      { what: "tesseract", state: "limited", detail: "not found", package: "tesseract-ocr" },
      { what: "vhost-device-vsock", state: "limited", detail: "not found", fix: "cargo install vhost-device-vsock" }
    ]
    const { needed, optional } = Doctor.fixes(findings)
    assert.match(needed.join("\n"), /apt-get install --no-install-recommends vde2$/)
    assert.match(optional.join("\n"), /apt-get install --no-install-recommends tesseract-ocr\ncargo install /)
    assert.deepStrictEqual(Doctor.fixes(findings.slice(0, 1)), { needed: [], optional: [] })
  })
})

describe("what vmtest doctor tells of hypervisors", () => {
  const found = { hypervisor: "Firecracker 1.16.1", program: "/opt/firecracker", problem: undefined }
  const what = "hypervisor firecracker"

  it("is that a guest ran, or why none did", () => {
    assert.deepStrictEqual(Doctor.hypervisorFinding("firecracker", Result.succeed(found)), {
      ...{ what, state: "ok", detail: "Firecracker 1.16.1, /opt/firecracker: a guest ran on it" }
    })
    const problem = "its probe guest did not end within 5s"
    assert.deepStrictEqual(Doctor.hypervisorFinding("firecracker", Result.succeed({ ...found, problem })), {
      ...{ what, state: "limited", detail: `Firecracker 1.16.1, /opt/firecracker: ${problem}` }
    })
  })

  it("is what is missing, and who needs it", () => {
    const missing = new HypervisorMissing({
      ...{ backend: "firecracker", program: "firecracker", variable: "VMTEST_FIRECRACKER" }
    })
    assert.deepStrictEqual(Doctor.hypervisorFinding("firecracker", Result.fail(missing)), {
      ...{ what, state: "limited" },
      detail: `${missing.message}; only needed for machines with backend: "firecracker"`
    })
    assert.include(missing.message, "VMTEST_FIRECRACKER")
    // Nobody has to install it.
    assert.deepStrictEqual(Doctor.fixes([Doctor.hypervisorFinding("firecracker", Result.fail(missing))]), {
      ...{ needed: [], optional: [] }
    })
  })
})

describe("what vmtest doctor tells of networks", () => {
  const works = { impair: undefined, partition: undefined, capture: undefined }
  const lacks = (doing: string, command: string) =>
    new FabricUnavailable({ doing, reason: `no ${doing}`, advice: `run ${command}`, command })
  const bridgeOf = (...given: Parameters<typeof Doctor.fabricFindings>) => {
    const [first, second] = Doctor.fabricFindings(...given)
    assert.deepInclude(first, { what: "network switch", state: "ok" })
    return second
  }

  it("is how the bridge was made where everything works", () => {
    for (const [unprivileged, words] of [
      [false, "as root"],
      [true, "in a user namespace"]
    ] as const) {
      assert.deepStrictEqual(bridgeOf(Result.succeed({ limits: works, unprivileged })), {
        what: "network bridge",
        state: "ok",
        detail: `made a network namespace with a bridge and a TAP ${words}`
      })
    }
  })

  it("is what cannot be done, with the commands that mend it", () => {
    const limits = {
      impair: lacks("impair links", "modprobe sch_netem"),
      partition: undefined,
      capture: lacks("capture packets", "apt-get install tcpdump")
    }
    const found = bridgeOf(Result.succeed({ limits, unprivileged: false }))
    assert.strictEqual(found?.state, "limited")
    assert.include(found?.detail, "; cannot impair links: no impair links; cannot capture packets: no capture packets")
    const fix = found?.fix?.replaceAll("sudo ", "")
    assert.strictEqual(fix, "modprobe sch_netem && apt-get install tcpdump")
  })

  it("is why there is no bridge, and what to do", () => {
    const reason = "could not open /dev/net/tun: Permission denied"
    const error = new FabricUnavailable({ doing: "connect machines", reason, advice: "run vmtest as root" })
    assert.deepStrictEqual(bridgeOf(Result.fail(error)), {
      what: "network bridge",
      state: "limited",
      detail: `networks with fabric: "bridge" do not work: ${reason}; run vmtest as root`
    })
    assert.strictEqual(bridgeOf(Result.fail(lacks("x", "modprobe tun")))?.fix?.replace("sudo ", ""), "modprobe tun")
  })
})
