Veo tres pájaros negros.
Veo cuatro perros.
Veo cinco caballos rojos.
Veo cinco perros.
