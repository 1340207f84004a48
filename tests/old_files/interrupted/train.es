Veo dos gatos blancos.
Veo tres perros rojos.
Veo cuatro perros blancos.
Veo cinco gatos rojos.
Veo dos caballos blancos.
Veo cinco perros blancos.
Veo dos pájaros rojos.
Veo tres gatos negros.
Veo tres caballos negros.
Veo dos perros negros.
Veo tres perros negros.
Veo cuatro gatos blancos.
Veo dos caballos negros.
Veo cinco pájaros blancos.
Veo dos pájaros.
Veo dos pájaros blancos.
Veo cuatro caballos.
Veo dos perros.
Veo tres caballos blancos.
Veo cuatro caballos rojos.
Veo tres pájaros.
Veo dos gatos.
Veo cuatro gatos rojos.
Veo cinco caballos blancos.
