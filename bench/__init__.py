"""The figures that this project promises, measured in labs beside a floor and the tools that people use today."""
