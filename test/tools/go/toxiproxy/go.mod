module event-flow/toxiproxy

go 1.26

tool github.com/Shopify/toxiproxy/v2/cmd/server

require github.com/Shopify/toxiproxy/v2 v2.5.0
