// What a person chooses about the page, kept in the browser. Owns the choices and their first values.
// The dialog for them is in settingsdialog.js.
import { effect } from "@preact/signals";
import { remembered } from "./remember.js";

export const zone = remembered("zone", "local"); // of all times: local, utc
export const density = remembered("density", "normal"); // of tables: normal, compact
export const palette = remembered("palette", "green"); // of buy and sell: green (and red), blue (and orange)
export const sounds = remembered("sounds", false); // when an order fills that was open

// Orders above these need a second look before they are sent; 0: never.
export const confirmValue = remembered("confirmValue", 100_000); // in the market's currency
export const confirmSlippage = remembered("confirmSlippage", 1); // percent that the average is worse than the best
export const confirmAway = remembered("confirmAway", 5); // percent that the price is worse than the best

effect(() => {
  Object.assign(document.documentElement.dataset, { density: density.value, palette: palette.value });
});
