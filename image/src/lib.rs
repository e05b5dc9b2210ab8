//! Host tool of Bascule.
