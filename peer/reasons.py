"""Why the market refused a command, in words for people. Owns the words, one sentence a reason."""

from engine.orders import Reason

WORDS = {
    Reason.UNKNOWN_MARKET: "This market does not exist.",
    Reason.INVALID_ID: "The id is not one a command can have.",
    Reason.INVALID_ACCOUNT: "An account has 1 to 64 characters.",
    Reason.INVALID_CLIENT_ID: "A client id has at most 64 characters.",
    Reason.INVALID_SIDE: "The side must be buy or sell.",
    Reason.INVALID_TYPE: "This order type can't be combined with its other settings.",
    Reason.INVALID_QUANTITY: "The quantity is not one this market takes.",
    Reason.INVALID_PRICE: "The price is not one this market takes.",
    Reason.INVALID_STOP_PRICE: "The stop price is not one this market takes.",
    Reason.INVALID_DISPLAY: "The displayed quantity must be above zero and at most the quantity.",
    Reason.INVALID_EXPIRY: "The expiry is missing, past, or does not fit the time in force.",
    Reason.DUPLICATE_ID: "This id has been used before.",
    Reason.UNKNOWN_ORDER: "There is no such open order: it may be filled, cancelled or expired.",
    Reason.NOT_OWNER: "The order belongs to another account.",
    Reason.MARKET_HALTED: "Trading in this market is halted.",
    Reason.MARKET_NOT_HALTED: "The market is not halted.",
    Reason.QUANTITY_TOO_SMALL: "The quantity is below this market's minimum.",
    Reason.QUANTITY_TOO_LARGE: "The quantity is above this market's maximum.",
    Reason.OUTSIDE_PRICE_BAND: "The price is too far from the last trade.",
    Reason.TOO_MANY_ORDERS: "This account has as many open orders as the market allows.",
    Reason.BOOK_FULL: "The book is full.",
    Reason.NOT_SMALLER: "A reduction must leave less than what is open now.",
    Reason.WOULD_CROSS: "Post-only: the order would have traded at once.",
}
