/** Chromium of the host, without a window. */
import { existsSync } from "node:fs"
import { chromium } from "playwright-core"

export const executable = "/usr/bin/chromium"

export const isInstalled = existsSync(executable)

/** A page of the browser, and what closes it. */
export const open = async (colorScheme: "light" | "dark" = "light") => {
  // Its sandbox needs rights that root of a container does not give away.
  const browser = await chromium.launch({ executablePath: executable, args: ["--no-sandbox"] })
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, colorScheme })
  return { page, close: () => browser.close() }
}
