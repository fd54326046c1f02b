-- What a build could trip over: ; "x" \n \\ [[ ]] ]=] $ENV{HOME} ${x} @x@ $<0:1> % ?? ??/ é
return [==[;"\n]] @dir@ ${dir}
é]==]