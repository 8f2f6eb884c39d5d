package main

import (
	"context"
	"fmt"
	"log"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	search "example.com/shop/clipsearch/search/v1"
)

func main() {
	connection, err := grpc.NewClient("127.0.0.1:50052", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	answer, err := search.NewSearchServiceClient(connection).Search(context.Background(), &search.SearchRequest{
		Collection: "shop",
		Query:      []*search.QueryTerm{{Term: &search.QueryTerm_Text{Text: "something to drink from"}}},
		Limit:      3,
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, hit := range answer.Hits {
		fmt.Printf("%.2f %s\n", hit.Score, hit.Id)
	}
}
