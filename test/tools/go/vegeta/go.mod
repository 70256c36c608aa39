module event-flow/vegeta

go 1.26

tool github.com/tsenart/vegeta/v12

require github.com/tsenart/vegeta/v12 v12.13.0
