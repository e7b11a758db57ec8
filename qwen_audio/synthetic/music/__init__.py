"""Music that labels itself: notes, pieces, genres, singing."""
