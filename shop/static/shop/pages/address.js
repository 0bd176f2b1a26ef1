/** The server's checks of an address, repeated here to show an error beside its field at once. */

const SEPARATORS = /[\s().-]/g;
const PIN = /^[1-9]\d{5}$/;
const MOBILE = /^(?:\+91|91|0)?[6-9]\d{9}$/;

/** @type {Record<string, string>} the error for an empty field */
const MISSING = {
  name: "Please enter the name for the parcel.",
  phone: "The courier needs a mobile number.",
  line1: "Please enter the house and street.",
  postal_code: "Please enter the PIN code.",
  city: "Please enter the town or city.",
  state: "Please choose a state.",
};

/** @param {string} field @param {string} value @returns {string | null} a sentence for the buyer */
export function addressError(field, value) {
  const given = value.trim();
  if (!given) return MISSING[field] ?? null;
  const bare = given.replace(SEPARATORS, "");
  if (field === "postal_code" && !PIN.test(bare)) return "A PIN code has six digits, like 560001.";
  if (field === "phone" && !MOBILE.test(bare))
    return "A mobile number has ten digits, like 98450 12345.";
  return null;
}
