module event-flow/pause

go 1.26
