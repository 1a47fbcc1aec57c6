"""What training needs beside the engine: regularisation, the frozen teacher, rates."""
