import { DriverLayer } from "vmtest"

export const layer = DriverLayer.layer()
export const make = DriverLayer.make()
export const host = DriverLayer.host
