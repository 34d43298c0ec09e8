"""The shapes of the API: requests, responses, problems, and the document made from them."""
