enum OptimRoom {}
