import { Image } from "vmtest"
import { Machine, machines, onDriver, startTimeout } from "vmtest/vitest"

export class Web extends Machine<Web>()("web", { image: Image.tiny() }) {}
export const block = machines(Web)
export const suite = { onDriver, startTimeout }
