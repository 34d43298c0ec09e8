"""The API's requests, responses and problems, and the OpenAPI document made from them."""
