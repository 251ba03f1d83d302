"""The small world that makes the whole way of the data run offline on a laptop."""
